"""Passes over a batch of images: its moments, and a linear map; a few images at a time.

So the copies stay in the cache. Moments may be those of several processes together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from eigbench.methods.base import symmetric_part

COPIED_BYTES = 2**22
"""A centred copy of this size never reaches memory; measured best among 0.5 to 16 MiB."""

READ_BYTES = 2**23
"""Without copies. On idle cores 4 MiB take a few per cent less than 8, and 16 up to a tenth more;
on busy ones many small steps wait longer."""

SMALL_IMAGE = 64
"""Images of fewer positions are joined: many thin products of matrices are slow."""


class Chunks:
    """How to walk through images `(N, C, H, W)` as matrices `(s, C, p)`.

    A chunk of k images is k matrices with `p = H·W` columns, or one with `p = k·H·W` where images
    are small. The matrices are contiguous and in the `dtype` of the computation, whatever the
    memory format and dtype of the images: where these differ the chunk is copied to a buffer,
    which the next chunk overwrites. `samples` is k and `matrices` is s. With `centring` a copy
    is made in any case, of the images less their mean.
    """

    def __init__(self, X: Tensor, dtype: torch.dtype, *, centring: bool) -> None:
        samples, self.channels, height, width = X.shape
        self.positions = height * width
        self.dtype = dtype
        self.centring = centring
        self.joined = self.positions < SMALL_IMAGE
        bytes_per_sample = self.channels * self.positions * dtype.itemsize
        self.samples = samples
        # A GPU wants few large kernels; a CPU wants its second look at the data to hit the cache.
        if X.device.type == "cpu":
            size = COPIED_BYTES if centring else READ_BYTES
            self.samples = max(1, min(samples, size // bytes_per_sample))
        self.matrices = 1 if self.joined else self.samples

    def split(self, *batches: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The images of each batch, chunk by chunk."""
        return zip(*(torch.split(batch, self.samples) for batch in batches), strict=True)

    def direct(self, X: Tensor) -> bool:
        """Whether images lie in memory as their matrices do."""
        return X.dtype == self.dtype and X.is_contiguous() and not self.joined

    def buffer(self, X: Tensor) -> Tensor:
        """Memory for one chunk."""
        size = self.samples * self.channels * self.positions
        return torch.empty(size, dtype=self.dtype, device=X.device)

    def centred(self, chunk: Tensor, mean: Tensor, buffer: Tensor) -> Tensor:
        """With `centring`, `chunk − mean` as matrices in the `buffer`; else `chunk` as it is."""
        if not self.centring:
            return self.read(chunk, buffer)
        torch.sub(chunk, mean[:, None, None], out=self._images(chunk, buffer))
        return self._matrices(chunk, buffer)

    def read(self, chunk: Tensor, buffer: Tensor) -> Tensor:
        """`chunk` as matrices, in place if it lies in memory as they do, else in the `buffer`."""
        if self.direct(chunk):
            return chunk.view(-1, self.channels, self.positions)
        self._images(chunk, buffer).copy_(chunk)
        return self._matrices(chunk, buffer)

    def target(self, chunk: Tensor, buffer: Tensor) -> Tensor:
        """Matrices to write to, of which `commit` makes the images of `chunk`."""
        if self.direct(chunk):
            return chunk.view(-1, self.channels, self.positions)
        return self._matrices(chunk, buffer)

    def commit(self, chunk: Tensor, buffer: Tensor) -> None:
        """Put what was written to `target` into `chunk`."""
        if not self.direct(chunk):
            chunk.copy_(self._images(chunk, buffer))

    def _matrices(self, chunk: Tensor, buffer: Tensor) -> Tensor:
        count = 1 if self.joined else len(chunk)
        return buffer[: chunk.numel()].view(count, self.channels, -1)

    def _images(self, chunk: Tensor, buffer: Tensor) -> Tensor:
        """The buffer's matrices in the shape of the images `(k, C, H, W)`."""
        used = buffer[: chunk.numel()]
        if self.joined:
            k, channels, height, width = chunk.shape
            return used.view(channels, k, height, width).transpose(0, 1)
        return used.view(chunk.shape)


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
