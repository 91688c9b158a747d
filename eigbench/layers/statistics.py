"""Mean and grouped covariance of images, and the linear map that is applied to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eigbench.layers.chunks import Chunks
from eigbench.methods.base import symmetric_part

NEAR_ZERO = 4
"""Squared mean over variance up to which products are not centred: 5 roundings become of 1."""


class Moments(NamedTuple):
    """The number of `positions` n, `mean` `(C,)`, and `scatter` `(G, d, d)`, the sum of `x̃ x̃ᵀ`."""

    positions: int | Tensor
    mean: Tensor
    scatter: Tensor


def moments(X: Tensor, dtype: torch.dtype, d: int) -> tuple[Moments, Chunks]:
    """Moments of `X` `(N, C, H, W)` in `dtype` for groups of d channels, and how to go on.

    The chunks say whether X must be centred. It need not be where every mean is small beside the
    deviation: then products of X itself, less those of the mean, lose no digits, and the copies of
    centring are saved here and later. That is asked on a CPU only, where looking at a value does
    not wait for a device.
    """
    chunks = Chunks(X, dtype, centring=False)
    if X.device.type == "cpu" and chunks.direct(X):
        found = _moments_about_zero(X, chunks, d)
        squares = found.scatter.diagonal(dim1=-2, dim2=-1).reshape(-1) / found.positions
        if bool((found.mean.square() <= NEAR_ZERO * squares).all()):
            return found, chunks
    chunks = Chunks(X, dtype, centring=True)
    return _moments_about_means(X, chunks, d), chunks


def _moments_about_zero(X: Tensor, chunks: Chunks, d: int) -> Moments:
    sums, squares = [], []
    for (chunk,) in chunks.split(X):
        matrices = chunk.view(-1, chunks.channels, chunks.positions)
        sums.append(matrices.sum(2).sum(0))
        squares.append(products(matrices, matrices, d))
    n = len(X) * chunks.positions
    mean = torch.stack(sums).sum(0) / n
    grouped = mean.view(-1, d, 1)
    scatter = torch.stack(squares).sum(0) - n * (grouped @ grouped.mT)
    return Moments(n, mean, symmetric_part(scatter))


def _moments_about_means(X: Tensor, chunks: Chunks, d: int) -> Moments:
    """In one pass over memory: each chunk is centred on its own mean before it is multiplied.

    So a large mean costs no digits; what the chunks' means differ by is added at the end (Chan,
    Golub and LeVeque, 1983).
    """
    buffer = chunks.buffer(X)
    means, scatters, positions = [], [], []
    for (chunk,) in chunks.split(X):
        mean = chunk.mean((0, 2, 3), dtype=chunks.dtype)
        matrices = chunks.centred(chunk, mean, buffer)
        means.append(mean)
        scatters.append(products(matrices, matrices, d))
        positions.append(len(chunk) * chunks.positions)
    n = sum(positions)
    every_mean = torch.stack(means)
    # All chunks but the last are alike; filled in, since a list would be copied to the device.
    weights = torch.full_like(every_mean[:, :1], positions[0])
    weights[-1].fill_(positions[-1])
    mean = (weights * every_mean).sum(0) / n
    between = ((every_mean - mean) * weights.sqrt()).T.reshape(chunks.channels // d, d, -1)
    scatter = torch.stack(scatters).sum(0) + between @ between.mT
    return Moments(n, mean, symmetric_part(scatter))


def products(left: Tensor, right: Tensor, d: int) -> Tensor:
    """`Σ l rᵀ` `(G, d, d)` by group, for matrices `(s, C, p)`."""
    count, channels, positions = left.shape
    groups = channels // d
    left, right = (each.view(count * groups, d, positions) for each in (left, right))
    return torch.bmm(left, right.mT).view(count, groups, d, d).sum(0)


class Blocks:
    """A block-diagonal linear map `(G, d, d)` with a constant `(C,)`, repeated for each image."""

    def __init__(self, linear: Tensor, constant: Tensor, count: int) -> None:
        self.groups, self.d, _ = linear.shape
        self.linear = linear.repeat(count, 1, 1)
        self.constant = constant.view(self.groups, self.d, 1).repeat(count, 1, 1)

    def write(self, matrices: Tensor, target: Tensor) -> None:
        """`target = linear · matrices + constant`, all `(s, C, p)`."""
        size = len(matrices) * self.groups
        torch.baddbmm(
            self.constant[:size],
            self.linear[:size],
            self._grouped(matrices),
            out=self._grouped(target),
        )

    def add(self, matrices: Tensor, target: Tensor) -> None:
        """`target += linear · matrices`, all `(s, C, p)`."""
        size = len(matrices) * self.groups
        self._grouped(target).baddbmm_(self.linear[:size], self._grouped(matrices))

    def _grouped(self, matrices: Tensor) -> Tensor:
        return matrices.view(-1, self.d, matrices.shape[-1])
