"""The moments of a batch of images; those of several processes together."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from eigbench.layers.layout import Images, Layout, layout_of
from eigbench.methods.base import symmetric_part

NEAR_ZERO = 4
"""Squared mean over variance up to which products are not centred: 5 roundings become of 1."""


class Moments(NamedTuple):
    """The number of `positions` n, `mean` `(C,)`, and `scatter` `(G, d, d)`, the sum of `x̃ x̃ᵀ`."""

    positions: int | Tensor
    mean: Tensor
    scatter: Tensor


def moments(X: Tensor, dtype: torch.dtype, d: int) -> tuple[Moments, Images]:
    """Moments of `X` `(N, C, H, W)` in `dtype` for groups of d channels, and how to read it on.

    The images are less their mean, or as they are where every mean is small beside the deviation:
    then products of X itself, less those of the mean, lose no digits, and the copies of centring
    are saved here and later. That is asked on a CPU only, where looking at a value does not wait
    for a device.
    """
    layout = layout_of(X, dtype, d)
    if layout.on_cpu:
        images = Images(layout, X)
        found = _moments_about_zero(images)
        squares = found.scatter.diagonal(dim1=-2, dim2=-1).reshape(-1) / found.positions
        if bool((found.mean.square() <= NEAR_ZERO * squares).all()):
            return found, images
    if layout.samples(copying=True) < len(X):
        found = _moments_about_means(layout, X)
        return found, Images(layout, X, found.mean)
    mean = X.mean((0, 2, 3), dtype=dtype)
    images = Images(layout, X, mean)
    (centred,) = images.chunks(len(X))
    scatter = symmetric_part(layout.products(centred, centred))
    return Moments(len(X) * layout.positions, mean, scatter), images


def _moments_about_zero(images: Images) -> Moments:
    layout = images.layout
    sums, squares = [], []
    for chunk in images.chunks(layout.samples(copying=images.copied)):
        sums.append(layout.sums(chunk))
        squares.append(layout.products(chunk, chunk))
    n = len(images.batch) * layout.positions
    mean = total(sums) / n
    grouped = mean.view(-1, layout.d, 1)
    scatter = total(squares) - n * (grouped @ grouped.mT)
    return Moments(n, mean, symmetric_part(scatter))


def _moments_about_means(layout: Layout, X: Tensor) -> Moments:
    """In one pass over memory: each chunk is centred on its own mean before it is multiplied.

    So a large mean costs no digits; what the chunks' means differ by is added at the end (Chan,
    Golub and LeVeque, 1983).
    """
    samples = layout.samples(copying=True)
    buffer = layout.buffer(X[:samples])
    means, scatters, positions = [], [], []
    for chunk in torch.split(X, samples):
        mean = chunk.mean((0, 2, 3), dtype=layout.dtype)
        centred = Images(layout, chunk, mean).copy(chunk, buffer[: len(chunk)])
        means.append(mean)
        scatters.append(layout.products(centred, centred))
        positions.append(len(chunk) * layout.positions)
    n = sum(positions)
    every_mean = torch.stack(means)
    weights = every_mean.new_tensor(positions)[:, None]
    mean = (weights * every_mean).sum(0) / n
    between = ((every_mean - mean) * weights.sqrt()).T.reshape(-1, layout.d, len(means))
    return Moments(n, mean, symmetric_part(total(scatters) + between @ between.mT))


def total(parts: list[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def is_distributed() -> bool:
    """Whether there are other processes to share statistics with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def pool(own: Moments) -> Moments:
    """The moments of all processes' images together, the same on each.

    The scatters are about each process's own mean, so what those differ by is added, as in
    `moments`: processes may have different numbers of images, and a large mean costs
    no digits.
    """
    # Counts and sums in float64: float32 counts to 2²⁴ positions only.
    mean = own.mean.double()
    packed = torch.cat([torch.ones_like(mean[:1]), mean]) * own.positions
    dist.all_reduce(packed)
    count = packed[0].to(own.mean.dtype)
    mean = (packed[1:] / packed[0]).to(own.mean.dtype)
    groups, d, _ = own.scatter.shape
    apart = (own.mean - mean).view(groups, d, 1)
    scatter = own.scatter + own.positions * (apart @ apart.mT)
    dist.all_reduce(scatter)
    return Moments(count, mean, scatter)


def sum_over_processes(*parts: Tensor) -> list[Tensor]:
    """The sum over all processes of each tensor; all in one message."""
    packed = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(packed)
    sums = torch.split(packed, [part.numel() for part in parts])
    return [each.view(part.shape) for each, part in zip(sums, parts, strict=True)]
