"""The part of CIFAR-10 that ships with the package: 200 train, 50 test images a class.

And features of it, on whose covariances an eigendecomposition is used in practice.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterable
from importlib.resources import files

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from eigbench.data.decoding import Labelled, decode

Floats = NDArray[np.float64]

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


BATCH_IMAGES = 128  # the paper's batch size (§3)
BATCHES = 4
PATCH_PIXELS = 8
CONVOLUTION_CHANNELS = 64  # ResNet's first convolution
KERNEL_PIXELS = 3
_MEAN = np.array([0.4914, 0.4822, 0.4465])  # of the CIFAR-10 training set, by channel
_DEVIATION = np.array([0.2470, 0.2435, 0.2616])


@functools.cache
def image_patches(seed: int) -> Floats:
    """Non-overlapping 8×8 RGB patches of one batch: `(patches, 192)`, standardised by channel."""
    images = _batch(seed)
    side = images.shape[1] // PATCH_PIXELS
    tiles = images.reshape(len(images), side, PATCH_PIXELS, side, PATCH_PIXELS, 3)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 3 * PATCH_PIXELS**2)


@functools.cache
def first_convolution(seed: int) -> Floats:
    """A 3×3 convolution of one batch, as ResNet starts: `(positions, 64)`.

    The 64 filters are drawn as torch initialises a convolution, U(−1/√27, 1/√27), so this is a
    network's first training step. The covariance has rank 27 at most: 27 inputs make 64 outputs.
    """
    padding = KERNEL_PIXELS // 2
    padded = np.pad(_batch(seed), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(padded, (KERNEL_PIXELS, KERNEL_PIXELS), axis=(1, 2))
    # Every second position each way: a quarter of the work, the same covariance.
    inputs = windows[:, ::2, ::2].reshape(-1, 3 * KERNEL_PIXELS**2)
    limit = inputs.shape[1] ** -0.5
    rng = np.random.default_rng([seed, CONVOLUTION_CHANNELS])
    filters = rng.uniform(-limit, limit, (inputs.shape[1], CONVOLUTION_CHANNELS))
    outputs: Floats = inputs @ filters
    return outputs


def _batch(seed: int) -> Floats:
    """One batch of images `(128, 32, 32, 3)`, standardised."""
    images = train_images(BATCHES * BATCH_IMAGES)
    first = seed % BATCHES * BATCH_IMAGES
    batch: Floats = (images[first : first + BATCH_IMAGES] / 255 - _MEAN) / _DEVIATION
    return batch
