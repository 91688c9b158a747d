"""The images that ship, and the features that real covariances are made of."""

from __future__ import annotations

import functools
import zipfile
from collections import Counter
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eigbench.data import mini
from eigbench.data.mini import (
    ARCHIVE,
    BATCH_IMAGES,
    BATCHES,
    CONVOLUTION_CHANNELS,
    first_convolution,
    image_patches,
    train_images,
)

PER_CLASS = 200


@functools.cache
def _classes() -> dict[bytes, str]:
    """The class of each training image, by its pixels."""
    packed = files("eigbench.data").joinpath(ARCHIVE).read_bytes()
    classes = {}
    with zipfile.ZipFile(BytesIO(packed)) as archive:
        for name in archive.namelist():
            if name.startswith("train/"):
                pixels = np.asarray(Image.open(BytesIO(archive.read(name))))
                classes[pixels.tobytes()] = name.split("/")[1]
    return classes


def test_two_thousand_images_of_ten_classes() -> None:
    images = train_images(10 * PER_CLASS)
    assert images.shape == (2000, 32, 32, 3)
    assert images.dtype == np.uint8
    counts = Counter(_classes()[image.tobytes()] for image in images)
    assert len(counts) == 10
    assert set(counts.values()) == {PER_CLASS}
    assert len({image.tobytes() for image in images}) == 2000


@pytest.mark.parametrize("count", [10, 128, 512])
def test_any_number_of_images_is_balanced(count: int) -> None:
    images = train_images(count)
    assert len(images) == count
    counts = Counter(_classes()[image.tobytes()] for image in images)
    assert len(counts) == 10
    assert max(counts.values()) - min(counts.values()) <= 1
    assert np.array_equal(images, train_images(2000)[:count])


def test_the_same_images_each_time() -> None:
    before = train_images(50)
    train_images.cache_clear()
    again = train_images(50)
    assert again is not before
    assert np.array_equal(again, before)


def test_images_look_like_images() -> None:
    images = train_images(500)
    assert images.min() < 10
    assert images.max() > 245
    neighbours = np.corrcoef(images[:, :, :-1].ravel(), images[:, :, 1:].ravel())[0, 1]
    assert neighbours > 0.8


def test_patches_are_those_of_the_images() -> None:
    patches = image_patches(0)
    assert patches.shape == (BATCH_IMAGES * 16, 192)
    image = train_images(BATCHES * BATCH_IMAGES)[3] / 255
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
    # The image's second row of patches, third column.
    expected = (image[8:16, 16:24] - mean) / deviation
    assert np.allclose(patches[3 * 16 + 1 * 4 + 2], expected.reshape(-1), atol=1e-12)


def test_a_convolution_is_one_of_the_images() -> None:
    outputs = first_convolution(1)
    assert outputs.shape == (BATCH_IMAGES * 16 * 16, CONVOLUTION_CHANNELS)
    # 27 inputs make 64 outputs, so the rank is 27.
    assert np.linalg.matrix_rank(outputs[:4000]) == 27


@pytest.mark.parametrize("extract", [image_patches, first_convolution])
def test_batches_differ_and_come_round(extract: Any) -> None:
    values = [extract(seed) for seed in range(BATCHES)]
    assert all(np.isfinite(value).all() for value in values)
    for first in range(BATCHES):
        for second in range(first):
            assert not np.allclose(values[first], values[second])
    batches = [mini._batch(seed) for seed in range(2 * BATCHES)]
    for seed in range(BATCHES):
        assert np.array_equal(batches[seed], batches[seed + BATCHES])


@pytest.mark.parametrize("extract", [image_patches, first_convolution])
def test_features_are_the_same_each_time(extract: Any) -> None:
    before = extract(2)
    extract.cache_clear()
    assert extract(2) is not before
    assert np.array_equal(extract(2), before)
