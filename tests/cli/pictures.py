"""A folder of small noise images, as `--data FOLDER` takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def folder_of_pictures(folder: Path, train: int = 20, test: int = 5) -> Path:
    """`train` and `test` images of each of two classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder
