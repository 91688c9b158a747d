"""Batches of images for training: their order, random crops and flips, and normalisation.

All that is random is drawn on the CPU, so that every device sees the same images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from eigbench.data.images import ImageSet
from eigbench.errors import InputError
from eigbench.methods.calling import sent

PADDING_PIXELS = 4
_ORDER, _CROPS = 0, 1
"""The streams of a seed: what one draws does not depend on the other."""


def batches(count: int, size: int, seed: int, epoch: int, *, drop_last: bool) -> Iterator[Tensor]:
    """Shuffled places of `count` images, `size` at a time: `(size,)` int64 on the CPU.

    A function of seed and epoch alone, so that a run that goes on after an interruption meets the
    same batches. The last one may be smaller, unless `drop_last`. `InputError` if there is none.
    """
    if size < 1 or count < (size if drop_last else 1):
        raise InputError(
            f"{count} images make no batch of {size}; give more images or fewer a batch"
        )
    order = torch.randperm(count, generator=_generator(seed, epoch, _ORDER))
    whole = count // size * size if drop_last else count
    return iter(torch.split(order[:whole], size))


def crop_generator(seed: int, step: int) -> torch.Generator:
    """The generator for one step's crops and flips, independent of the order of the batches.

    One a step, so that a run that goes on in the middle of an epoch meets the same crops.
    """
    return _generator(seed, step, _CROPS)


def random_crop_flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image `(B, 3, n, n)` cropped at random out of four pixels of zeros, and maybe mirrored.

    Shape, type and device stay. One of 9 × 9 crops and one of two orientations, each as likely,
    by a generator on the CPU. K. He et al., Deep residual learning for image recognition, §4.2.
    """
    count, _, height, width = batch.shape
    places = 2 * PADDING_PIXELS + 1
    offsets = torch.randint(places, (2, count), generator=generator, device="cpu")
    mirrored = torch.randint(2, (1, count), generator=generator, device="cpu")
    down, right, mirrored = sent(torch.cat([offsets, mirrored]), batch.device)
    padded = pad(batch, (PADDING_PIXELS,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, 3, 9, 9, n, n), a view
    crops = windows[torch.arange(count, device=batch.device), :, down, right]
    return torch.where(mirrored[:, None, None, None] == 1, crops.flip(3), crops)


def channel_statistics(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by channel, `(3,)` float64 each, of pixels from 0 to 1.

    Of the images at hand, not the well-known constants of CIFAR-10: a folder may hold anything.
    They agree on CIFAR-10. Take them of the training images, for the test images too. On the CPU;
    `InputError` if a channel is constant.
    """
    # How often each of the 256 values comes: exact, and the images are read once.
    channels = (images.pixels[:, channel].flatten() for channel in range(3))
    counts = torch.stack([torch.bincount(own, minlength=256).cpu().double() for own in channels])
    values = torch.arange(256, dtype=torch.float64)
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    deviation = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    if (counts.count_nonzero(1) < 2).any():
        raise InputError(f"every pixel of {images.name} has the same value in a channel")
    return mean / 255, deviation / 255


class Normalise:
    """uint8 images `(B, 3, n, n)` as (x/255 − mean)/deviation by channel, on a device, in a type.

    Mean and deviation are `(3,)` float64, of pixels from 0 to 1.
    """

    def __init__(
        self, mean: Tensor, deviation: Tensor, dtype: torch.dtype, device: torch.device
    ) -> None:
        # Rounded once, from float64: one multiplication and one addition are left for each pixel.
        self._scale = (1 / (255 * deviation)).to(device, dtype)[:, None, None]
        self._shift = (-mean / deviation).to(device, dtype)[:, None, None]
        self._dtype = dtype

    def __call__(self, batch: Tensor) -> Tensor:
        """The images in the type."""
        return batch.to(self._dtype) * self._scale + self._shift


def _generator(seed: int, turn: int, stream: int) -> torch.Generator:
    mixed = np.random.SeedSequence(seed, spawn_key=(turn, stream)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))
