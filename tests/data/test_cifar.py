"""CIFAR as torchvision downloads it, with a small archive in place of the real one."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import tarfile
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets  # type: ignore[import-untyped]

from eigbench.data import cifar
from eigbench.data.images import load_images
from eigbench.errors import InputError

CLASSES = ["ant", "bee", "cat"]
COUNTS = {"train": 10, "test": 4}
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class _Warning:
    """What NumPy 2.4.0 to 2.4.4 say when they read a pickle as old as CIFAR's."""

    def __reduce__(self) -> tuple[Any, ...]:
        text = "dtype(): align should be passed as Python or NumPy boolean but got `align=0`"
        return warnings.warn, (text, np.exceptions.VisibleDeprecationWarning)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Server:
    """Stands in for the internet: one archive, and whether it can be had."""

    def __init__(self) -> None:
        self.archive = b""
        self.reachable = True
        self.requests = 0
        self.timeouts: set[float | None] = set()

    def urlopen(self, request: urllib.request.Request) -> Any:
        self.requests += 1
        self.timeouts.add(socket.getdefaulttimeout())
        if not self.reachable:
            raise urllib.error.URLError("no network")
        response: Any = io.BytesIO(self.archive)
        response.url = request.full_url
        response.length = len(self.archive)
        return response


def _contents() -> tuple[dict[str, Pixels], dict[str, bytes]]:
    """The pixels `(N, 3072)` of each split, and the files of a CIFAR-100 that holds them."""
    rng = np.random.default_rng(0)
    pixels = {s: rng.integers(0, 256, (count, 3072), np.uint8) for s, count in COUNTS.items()}
    members = {}
    for split, array in pixels.items():
        labels = [i % 3 for i in range(len(array))]
        entry = {"data": array, "fine_labels": labels, "era": _Warning()}
        members[split] = pickle.dumps(entry, protocol=2)
    members["meta"] = pickle.dumps({"fine_label_names": CLASSES}, protocol=2)
    return pixels, members


def _tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A small CIFAR-100 that torchvision takes for the real one, by its checksums."""
    _, members = _contents()
    served = Server()
    served.archive = _tar(members)
    kind = datasets.CIFAR100
    monkeypatch.setattr(kind, "tgz_md5", _md5(served.archive))
    monkeypatch.setattr(kind, "train_list", [["train", _md5(members["train"])]])
    monkeypatch.setattr(kind, "test_list", [["test", _md5(members["test"])]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": _md5(members["meta"])})
    monkeypatch.setattr(cifar, "COUNTS", COUNTS)
    monkeypatch.setattr(urllib.request, "urlopen", served.urlopen)
    monkeypatch.setenv(cifar.CACHE_VARIABLE, str(tmp_path / "cache"))
    return served


def _refusal(source: str = "cifar100", split: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        load_images(source, split)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_downloaded_once_and_read(server: Server) -> None:
    pixels, _ = _contents()
    for split, count in COUNTS.items():
        images = load_images("cifar100", split)
        assert torch.equal(images.pixels, torch.from_numpy(pixels[split].reshape(count, 3, 32, 32)))
        assert images.labels.tolist() == [i % 3 for i in range(count)]
        assert images.classes == tuple(CLASSES)
        assert images.name == "cifar100"
    assert server.requests == 2  # its address, and the archive
    assert server.timeouts == {cifar.PATIENCE_SECONDS}
    assert socket.getdefaulttimeout() is None


def test_no_network(server: Server, tmp_path: Path) -> None:
    server.reachable = False
    message = _refusal()
    assert message.startswith(f"cannot load cifar100 from or into {tmp_path / 'cache'}: ")
    assert "no network" in message
    assert "a folder with train/<class>/ and test/<class>/ can be given instead" in message


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_damaged_download(server: Server, length: int) -> None:
    server.archive = server.archive[:length]
    assert "File not found or corrupted" in _refusal()


def test_a_damaged_archive_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    damaged = tmp_path / "cache" / "cifar-100-python.tar.gz"
    damaged.write_bytes(server.archive[:50])
    server.reachable = False
    assert "no network" in _refusal()
    server.reachable = True
    assert len(load_images("cifar100", "test")) == COUNTS["test"]


def test_a_damaged_file_is_unpacked_again(server: Server, tmp_path: Path) -> None:
    before = load_images("cifar100", "train")
    (tmp_path / "cache" / "cifar-100-python" / "train").write_bytes(b"damaged")
    server.reachable = False
    assert load_images("cifar100", "train").sha256 == before.sha256


def test_a_folder_that_cannot_be_written(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole data is read without writing: no lock, no folder."""
    load_images("cifar100", "train")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(cifar, "FileLock", refuse)
    assert len(load_images("cifar100", "train")) == COUNTS["train"]
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", "another")
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", "another"]])
    assert "Permission denied" in _refusal()


def test_the_counts_are_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "COUNTS", {"train": 50_000, "test": 10_000})
    assert "has 10 train images and 10 labels; 50000 are right" in _refusal()
    assert "has 4 test images and 4 labels; 10000 are right" in _refusal(split="test")


def test_cifar10_is_the_other_class(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a class in place of torchvision's: which is made, and with what."""
    made = []

    class Fake:
        data = np.zeros((4, 32, 32, 3), np.uint8)
        targets = (0, 1, 2, 1)
        classes = CLASSES

        def __init__(self, root: Path, *, train: bool, download: bool) -> None:
            made.append((root, train, download))

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    images = load_images("cifar10", "test")
    assert images.name == "cifar10"
    assert images.labels.tolist() == [0, 1, 2, 1]
    assert made == [(tmp_path / "cache", False, False)]


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(cifar.CACHE_VARIABLE, "")
    assert cifar.cache_folder() == Path("/home/someone/.cache/eigbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cifar.cache_folder() == Path("/caches/eigbench")
    monkeypatch.setenv(cifar.CACHE_VARIABLE, "/data")
    assert cifar.cache_folder() == Path("/data")
