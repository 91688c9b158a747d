"""The part of CIFAR-10 that ships with the package: 200 train, 50 test images a class."""

from __future__ import annotations

import functools
import io
import zipfile
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

ARCHIVE = "cifar10-mini.zip"


@functools.cache
def train_images(count: int) -> NDArray[np.uint8]:
    """The first `count` training images, classes in turn: `(count, 32, 32, 3)`, RGB.

    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; re-encoded as
    JPEG, quality 90.
    """
    from PIL import Image  # late: only real spectra need it

    packed = files("eigbench.data").joinpath(ARCHIVE).read_bytes()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("train/"))
        per_class = len(names) // 10
        # One of each class after the other, so that any count is balanced.
        chosen = [names[i % 10 * per_class + i // 10] for i in range(count)]
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in chosen]
    return np.stack(pixels)
