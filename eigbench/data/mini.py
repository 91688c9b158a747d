"""The part of CIFAR-10 that ships with the package: 200 train, 50 test images a class."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterable
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from eigbench.data.decoding import Labelled, decode

ARCHIVE = "cifar10-mini.zip"


@functools.cache
def train_images(count: int) -> NDArray[np.uint8]:
    """The first `count` training images, classes in turn: `(count, 32, 32, 3)`, RGB.

    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; re-encoded as
    JPEG, quality 90.
    """
    with _archive() as archive:
        names = _names(archive, "train")
        per_class = len(names) // 10
        # One of each class after the other, so that any count is balanced.
        return _decoded(archive, (names[i % 10 * per_class + i // 10] for i in range(count)))


def read_mini(split: str) -> Labelled:
    """The whole of one split, "train" or "test", sorted by class and name."""
    with _archive() as archive:
        names = _names(archive, split)
        pixels = _decoded(archive, names)
    of_each = [name.split("/")[1] for name in names]  # train/<class>/x.jpg
    classes, labels = np.unique(of_each, return_inverse=True)
    return Labelled(pixels, labels.astype(np.int64), tuple(classes.tolist()))


def _archive() -> zipfile.ZipFile:
    packed = files("eigbench.data").joinpath(ARCHIVE).read_bytes()
    return zipfile.ZipFile(io.BytesIO(packed))


def _names(archive: zipfile.ZipFile, split: str) -> list[str]:
    return sorted(name for name in archive.namelist() if name.startswith(f"{split}/"))


def _decoded(archive: zipfile.ZipFile, names: Iterable[str]) -> NDArray[np.uint8]:
    return np.stack([decode(archive.read(name), name) for name in names])
