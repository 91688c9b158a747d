"""CIFAR-10 and CIFAR-100 as torchvision downloads and verifies them."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from eigbench.data.decoding import LAYOUT, Labelled
from eigbench.errors import InputError

CACHE_VARIABLE = "EIGBENCH_DATA"
COUNTS = {"train": 50_000, "test": 10_000}
PATIENCE_SECONDS = 60.0
"""How long a server may stay silent: without a limit, a lost connection would hang for good."""


def cache_folder() -> Path:
    """Where downloads are kept: `$EIGBENCH_DATA`, else `eigbench` in the user's cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")  # as the XDG base directory specification has it
    return (Path(cache) if cache else Path.home() / ".cache") / "eigbench"


def read_cifar(name: str, split: str) -> Labelled:
    """One split of "cifar10" or "cifar100", in the order of the files its author published.

    Downloaded unless it is there, and verified by torchvision's checksums each time. `InputError`
    if that fails.
    """
    folder = cache_folder()
    try:
        dataset = _dataset(name, split, folder)
        pixels = np.asarray(dataset.data, np.uint8)
        labels = np.asarray(dataset.targets, np.int64)
        classes = tuple(map(str, dataset.classes))
    except Exception as error:
        # No network, a full disk, a damaged archive: torchvision has no error of its own for them.
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"cannot load {name} from or into {folder}: {reason.rstrip('.')}; "
            f"a folder with {LAYOUT} can be given instead"
        ) from error
    if not len(pixels) == len(labels) == COUNTS[split]:
        raise InputError(
            f"{name} in {folder} has {len(pixels)} {split} images and {len(labels)} labels; "
            f"{COUNTS[split]} are right"
        )
    return Labelled(pixels, labels, classes)


def _dataset(name: str, split: str, folder: Path) -> Any:
    from torchvision import datasets  # type: ignore[import-untyped]  # late: it takes seconds

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    with warnings.catch_warnings():
        # The files are pickles of 2009; NumPy 2.4.0 to 2.4.4 warn of how they write a dtype.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align")
        # RuntimeError: not there, or damaged. Else nothing is written: the folder may be a shared
        # one that this user can only read.
        with contextlib.suppress(RuntimeError):
            return kind(folder, train=split == "train", download=False)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"), _patience():
            return kind(folder, train=split == "train", download=True)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
