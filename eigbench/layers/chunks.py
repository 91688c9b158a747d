"""A batch of images, read and written a few at a time so that copies stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

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
