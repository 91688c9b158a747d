"""Images to train and test on, from wherever they come, and parts of them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.data.cifar import read_cifar
from eigbench.data.decoding import Labelled, read_folder
from eigbench.data.mini import read_mini
from eigbench.errors import InputError

SPLITS = ("train", "test")
_NAMED: dict[str, tuple[str, Callable[[str], Labelled]]] = {
    "mini": ("cifar10-mini", read_mini),
    "cifar10": ("cifar10", functools.partial(read_cifar, "cifar10")),
    "cifar100": ("cifar100", functools.partial(read_cifar, "cifar100")),
}
"""The sources that have a name; any other is a folder (`./mini` is one)."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory."""

    pixels: Tensor
    """`(N, 3, 32, 32)` uint8, RGB."""
    labels: Tensor
    """`(N,)` int64, places in `classes`."""
    classes: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def sha256(self) -> str:
        """The identity of the data: of pixels, labels and class names; neither name nor device.

        Of the decoded pixels, so another JPEG decoder may give another one.
        """
        shape = list(self.pixels.shape)
        digest = hashlib.sha256(json.dumps([shape, self.classes]).encode())
        digest.update(self.pixels.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().numpy().astype("<i8").data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on another device."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def select(self, indices: Tensor) -> ImageSet:
        """The images at these places, `(n,)` int64 on any device, in this order."""
        places = indices.to(self.labels.device)
        return replace(self, pixels=self.pixels[places], labels=self.labels[places])


def load_images(source: str, split: str) -> ImageSet:
    """One split, "train" or "test", of a source, on the CPU, in an order that is always the same.

    A source is "mini", which ships with the package; "cifar10" or "cifar100", downloaded once; or
    a folder with `train/<class>/` and `test/<class>/`. `InputError` says what is wrong with it.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r}; {' and '.join(SPLITS)} are right")
    if source in _NAMED:
        name, read = _NAMED[source]
        labelled = read(split)
    else:
        folder = Path(source)
        labelled = read_folder(folder, split)
        name = folder.resolve().name
    pixels = torch.from_numpy(labelled.pixels).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.from_numpy(labelled.labels), labelled.classes, name)


def split_validation(
    images: ImageSet, share: float = 0.1, *, seed: int
) -> tuple[ImageSet, ImageSet]:
    """Training and validation images: of each class the same share, drawn by the seed.

    A tenth is 5,000 of CIFAR's 50,000, as in K. He et al., Deep residual learning for image
    recognition, §4.2. Each class gives its share, rounded, and keeps one image at least;
    `InputError` if none is left to validate on. The order stays.
    """
    if not 0 < share < 1:
        raise InputError(f"the validation share is {share}; it must lie between 0 and 1")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(images), bool)
    for members in _members(images):
        count = min(round(share * len(members)), len(members) - 1)
        chosen[rng.permutation(members)[: max(count, 0)]] = True
    if not chosen.any():
        raise InputError(
            f"a share of {share} of {len(images)} {images.name} images leaves none to validate on; "
            "more images, or a larger share, would"
        )
    training, validation = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return images.select(torch.from_numpy(training)), images.select(torch.from_numpy(validation))


def limited(images: ImageSet, count: int) -> ImageSet:
    """`count` images, the classes in turn, so that any count is balanced.

    Each class comes in an order that is drawn once for all: in a folder its images are sorted by
    name, and the first of them may be all of one kind. A smaller count is the beginning of a
    larger one. `InputError` if there are not so many.
    """
    if not 0 < count <= len(images):
        raise InputError(
            f"{count} images of {images.name} cannot be taken: there are {len(images)}"
        )
    rng = np.random.default_rng(0)
    turn = np.empty(len(images), np.int64)
    for members in _members(images):
        turn[rng.permutation(members)] = np.arange(len(members))
    order = np.lexsort((images.labels.cpu().numpy(), turn))  # by turn, then by class
    return images.select(torch.from_numpy(order[:count]))


def _members(images: ImageSet) -> list[NDArray[np.int64]]:
    """The places of each class's images."""
    labels = images.labels.cpu().numpy()
    return [np.flatnonzero(labels == label) for label in range(len(images.classes))]
