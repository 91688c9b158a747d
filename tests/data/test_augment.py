"""Augmentation against literal loops; the same draws each time, on every device."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eigbench.data.augment import (
    Normalise,
    batches,
    channel_statistics,
    crop_generator,
    random_crop_flip,
)
from eigbench.data.images import ImageSet, load_images
from eigbench.errors import InputError
from tests.methods.waiting import no_waiting

CPU = torch.device("cpu")


def _batch(count: int, seed: int = 0) -> Tensor:
    """Random images without a zero, which is the padding's value."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def _crop(image: Tensor, down: int, right: int, *, mirrored: bool) -> Tensor:
    """One crop, pixel by pixel."""
    out = torch.zeros_like(image)
    for i, j in itertools.product(range(32), range(32)):
        y, x = i + down - 4, (31 - j if mirrored else j) + right - 4
        if 0 <= y < 32 and 0 <= x < 32:
            out[:, i, j] = image[:, y, x]
    return out


def test_each_image_by_a_literal_loop() -> None:
    batch = _batch(12)
    generator = torch.Generator().manual_seed(5)
    cropped = random_crop_flip(batch, generator)
    assert cropped.shape == batch.shape
    assert cropped.dtype == torch.uint8
    drawn = torch.Generator().manual_seed(5)
    offsets = torch.randint(9, (2, 12), generator=drawn)
    mirrored = torch.randint(2, (12,), generator=drawn)
    for i in range(12):
        down, right = offsets[:, i].tolist()
        expected = _crop(batch[i], down, right, mirrored=bool(mirrored[i]))
        assert torch.equal(cropped[i], expected)


def test_every_crop_and_orientation_is_as_likely() -> None:
    """χ² over the 9 × 9 × 2 outcomes, read off an image that holds its own coordinates."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0] += torch.arange(32, dtype=torch.uint8)[:, None]
    image[1] += torch.arange(32, dtype=torch.uint8)
    count = 40_000
    cropped = torch.cat([
        random_crop_flip(image.expand(count // 10, -1, -1, -1), crop_generator(0, step))
        for step in range(10)
    ])  # fmt: skip
    middle, next_to_it = cropped[:, :, 16, 16].long(), cropped[:, :, 16, 17].long()
    mirrored = next_to_it[:, 1] < middle[:, 1]
    down = middle[:, 0] - 12
    right = middle[:, 1] - torch.where(mirrored, 11, 12)
    counts = torch.bincount((down * 9 + right) * 2 + mirrored)
    assert len(counts) == 162
    expected = count / 162
    statistic = float(((counts - expected) ** 2 / expected).sum())
    # 161 degrees of freedom: mean 161, deviation √322 ≈ 18; within five deviations.
    assert 71 < statistic < 251


def test_images_of_one_batch_are_cropped_apart() -> None:
    image = _batch(1).expand(64, -1, -1, -1)
    cropped = random_crop_flip(image, crop_generator(0, 0))
    assert len({crop.numpy().tobytes() for crop in cropped}) > 40


def test_the_border_is_zero() -> None:
    batch = _batch(256)
    generator = torch.Generator().manual_seed(1)
    cropped = random_crop_flip(batch, generator)
    down, _ = torch.randint(9, (2, 256), generator=torch.Generator().manual_seed(1))
    for place in range(256):
        rows = (cropped[place] == 0).all(0).all(1)
        missing = int(down[place]) - 4
        assert int(rows.sum()) == abs(missing)
        assert bool(rows[0]) == (missing < 0)
        assert bool(rows[-1]) == (missing > 0)


def test_the_batch_is_left_alone() -> None:
    batch = _batch(8)
    before = batch.clone()
    random_crop_flip(batch, crop_generator(0, 0))
    assert torch.equal(batch, before)


def test_crops_are_drawn_by_seed_and_step() -> None:
    batch = _batch(32)
    first = random_crop_flip(batch, crop_generator(3, 1))
    assert torch.equal(random_crop_flip(batch, crop_generator(3, 1)), first)
    for seed, step in ((3, 2), (4, 1), (1, 3)):
        assert not torch.equal(random_crop_flip(batch, crop_generator(seed, step)), first)
    generator = crop_generator(3, 1)
    assert torch.equal(random_crop_flip(batch, generator), first)
    assert not torch.equal(random_crop_flip(batch, generator), first)


def test_channels_last_gives_the_same_crops() -> None:
    batch = _batch(16)
    other = batch.to(memory_format=torch.channels_last)
    assert torch.equal(
        random_crop_flip(other, crop_generator(0, 0)), random_crop_flip(batch, crop_generator(0, 0))
    )


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_the_draws_are_those_of_the_cpu_on_every_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    batch = _batch(16)
    here, there = crop_generator(0, 0), crop_generator(0, 0)
    expected = random_crop_flip(batch, here)
    cropped = random_crop_flip(batch.to(device), there)
    assert cropped.device.type == device
    assert cropped.shape == batch.shape
    # As much was drawn, so the next batch is the same too.
    assert torch.equal(here.get_state(), there.get_state())
    if device == "cuda":
        assert torch.equal(cropped.cpu(), expected)


def test_a_gpu_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_waiting("cuda", monkeypatch):
        prepared = Normalise(torch.ones(3), torch.ones(3), torch.float32, torch.device("cuda"))
        batch = torch.empty(8, 3, 32, 32, dtype=torch.uint8)
        assert prepared(random_crop_flip(batch, crop_generator(0, 0))).shape == batch.shape


# Normalisation


def test_statistics_are_those_of_the_images() -> None:
    images = load_images("mini", "train")
    mean, deviation = channel_statistics(images)
    assert mean.dtype == deviation.dtype == torch.float64
    scaled = images.pixels.numpy().astype(np.float64) / 255
    assert np.allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12, atol=0)
    assert np.allclose(deviation, scaled.std((0, 2, 3)), rtol=1e-12, atol=0)
    # Two thousand of CIFAR-10's images come near the constants that are known of all of them.
    assert np.allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.01)
    assert np.allclose(deviation, [0.2470, 0.2435, 0.2616], atol=0.01)


def test_a_constant_channel_is_refused() -> None:
    pixels = _batch(4)
    pixels[:, 1] = 7
    images = ImageSet(pixels, torch.tensor([0, 1, 0, 1]), ("a", "b"), "drawn")
    with pytest.raises(InputError, match="every pixel of drawn has the same value in a channel"):
        channel_statistics(images)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 0.04), (torch.float16, 5e-3)],
)
def test_normalised_by_channel(dtype: torch.dtype, tolerance: float) -> None:
    """To a few roundings of values of at most 2.6: 4.2 units of each type's last place."""
    batch = _batch(6)
    mean = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64)
    deviation = torch.tensor([0.25, 0.24, 0.3], dtype=torch.float64)
    normal = Normalise(mean, deviation, dtype, CPU)(batch)
    assert normal.dtype == dtype
    assert normal.shape == batch.shape
    for channel in range(3):
        expected = (batch[:, channel].numpy() / 255 - float(mean[channel])) / float(
            deviation[channel]
        )
        assert np.abs(normal[:, channel].double().numpy() - expected).max() < tolerance


def test_a_training_set_is_normal_by_its_own_statistics() -> None:
    images = load_images("mini", "train")
    normal = Normalise(*channel_statistics(images), torch.float64, CPU)(images.pixels)
    assert normal.mean((0, 2, 3)).abs().max() < 1e-12
    assert (normal.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-12


# The order


@given(
    count=st.integers(1, 300),
    size=st.integers(1, 300),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 400),
)
def test_every_image_once_an_epoch(count: int, size: int, seed: int, epoch: int) -> None:
    order = list(batches(count, size, seed, epoch, drop_last=False))
    assert all(len(batch) == size for batch in order[:-1])
    assert 1 <= len(order[-1]) <= size
    assert sorted(torch.cat(order).tolist()) == list(range(count))
    if count < size:
        with pytest.raises(InputError, match=f"^{count} images make no batch of {size}"):
            batches(count, size, seed, epoch, drop_last=True)
        return
    whole = list(batches(count, size, seed, epoch, drop_last=True))
    assert len(whole) == count // size
    assert all(torch.equal(one, other) for one, other in zip(whole, order, strict=False))


def test_the_order_is_one_of_seed_and_epoch() -> None:
    orders = {
        (seed, epoch): torch.cat([*batches(50, 8, seed, epoch, drop_last=False)])
        for seed in range(3)
        for epoch in range(3)
    }
    for (seed, epoch), order in orders.items():
        assert order.dtype == torch.int64
        assert torch.equal(order, torch.cat([*batches(50, 50, seed, epoch, drop_last=False)]))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 9
    assert tuple(orders[0, 0].tolist()) != tuple(range(50))


def test_the_order_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    list(batches(50, 8, 0, 0, drop_last=True))
    random_crop_flip(_batch(2), crop_generator(0, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_crops_do_not_follow_the_order() -> None:
    order = next(batches(1000, 1000, 0, 0, drop_last=True))
    assert not torch.equal(order, torch.randperm(1000, generator=crop_generator(0, 0)))


@pytest.mark.parametrize(("count", "size"), [(0, 1), (5, 0), (5, -1)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_no_batch_at_all(count: int, size: int, drop_last: bool) -> None:
    with pytest.raises(InputError, match=f"^{count} images make no batch of {size};"):
        batches(count, size, 0, 0, drop_last=drop_last)
