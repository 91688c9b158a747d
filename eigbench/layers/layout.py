"""Images as matrices: products of them by group of channels, and linear maps of them.

Channels last, images are one matrix with a row a position (`Rows`); contiguous, one matrix an image
with a row a channel (`Planes`), or if they are small one in all (`Joined`). They are read in place
where they lie in memory so, have the `dtype` of the computation and need no centring. Else a few at
a time are copied to a buffer, which stays in the cache; on a GPU all at once, since it wants few
large kernels.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

from eigbench.methods.calling import observed

COPIED_BYTES = 2**22
"""A copy of this size never reaches memory; measured best among 0.5 to 16 MiB."""

KEPT_BYTES = 2**23
"""Up to this size memory for copies is kept."""

READ_BYTES = 2**23
"""Without copies. On idle cores 4 MiB take a few per cent less than 8, and 16 up to a tenth more;
on busy ones many small steps wait longer."""

SMALL_IMAGE = 64
"""Images of fewer positions are joined: many thin products of matrices are slow."""

NARROW, WIDE = 16, 256
"""The least channels of a block of groups, with zeros between them, where thinner products would
take as long: on a CPU, and on a GPU."""

CONVOLVED = 32
"""Likewise of a convolution: for thinner blocks oneDNN copies the images to new memory."""


class _Memory(threading.local):
    """What the layers of a thread copy images to, one layer after the other.

    The C library gives more than some MiB back to the system, and to get them anew takes as long as
    a map.
    """

    most = 4
    """A forward pass takes so many, and a backward pass three."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def take(self, size: int) -> Tensor:
        """So many bytes at least."""
        found = next((place for place, one in enumerate(self._free) if len(one) >= size), None)
        if found is not None:
            return self._free.pop(found)
        with torch.inference_mode(mode=False):
            return torch.empty(size, dtype=torch.uint8, device="cpu")

    def give_back(self, *pieces: Tensor) -> None:
        """Nobody looks at them any more."""
        self._free = sorted([*pieces, *self._free], key=len)[-self.most :]


_memory = _Memory()


class Layout(abc.ABC):
    """How to compute with batches like `X` `(N, C, H, W)`: in `dtype`, by groups of `d` channels.

    Chunks of a batch come as it is computed with, images `(k, C, H, W)` in this layout.
    """

    memory_format: torch.memory_format

    def __init__(self, X: Tensor, dtype: torch.dtype, d: int) -> None:
        self._taken: list[Tensor] = []
        self.count, self.channels = X.shape[:2]
        self.positions = X.shape[2] * X.shape[3]
        self.dtype, self.d = dtype, d
        self.on_cpu = on_cpu(X)
        self.width = self._width()

    def __del__(self) -> None:
        """Whoever looks at a buffer holds the layout; so nobody does any more."""
        _memory.give_back(*self._taken)

    def direct(self, X: Tensor) -> bool:
        """Whether images lie in memory as they are computed with."""
        return X.dtype == self.dtype and X.is_contiguous(memory_format=self.memory_format)

    def buffer(self, X: Tensor) -> Tensor:
        """Memory for images like `X` as they are computed with, while this layout lives."""
        size = X.numel() * self.dtype.itemsize
        # What others trace or replace is not for the next call.
        seen = observed(X) or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if self.on_cpu and size <= KEPT_BYTES and not seen:
            self._taken.append(_memory.take(size))
            memory = self._taken[-1][:size].view(self.dtype)
        else:
            memory = torch.empty(X.numel(), dtype=self.dtype, device=X.device)
        return self._laid_out(memory, X.shape)

    @abc.abstractmethod
    def _laid_out(self, memory: Tensor, shape: torch.Size) -> Tensor:
        """`memory` `(N·C·H·W,)` as images of a `shape` `(N, C, H, W)`."""

    @abc.abstractmethod
    def sums(self, images: Tensor) -> Tensor:
        """`Σ x` `(C,)`."""

    @abc.abstractmethod
    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """`Σ l rᵀ` `(G, d, d)` by group."""

    @abc.abstractmethod
    def combine(self, like: Tensor, constant: Tensor, *terms: Term) -> Tensor:
        """`Σ map · x + constant`, in the dtype and memory format of `like`."""

    @abc.abstractmethod
    def _width(self) -> int:
        """Channels of a block: those of a group, or of several."""

    def samples(self, *, copying: bool) -> int:
        """Images of a chunk."""
        if not self.on_cpu:
            return self.count
        one = self.channels * self.positions * self.dtype.itemsize
        size = COPIED_BYTES if copying else READ_BYTES
        return max(1, min(self.count, size // one))

    def _at_least(self, width: int) -> int:
        """The fewest channels from `width` on that are blocks of whole groups; or all."""
        groups = self.channels // self.d
        some = (n * self.d for n in range(1, groups) if groups % n == 0)
        return next((channels for channels in some if channels >= width), self.channels)

    def _blocks(self, maps: Tensor, width: int) -> Tensor:
        """Maps of groups `(G, d, d)` as maps of so wide blocks, with zeros between groups."""
        several = width // self.d
        if several == 1:
            return maps.contiguous()
        blocks = maps.new_zeros(len(maps) // several, several, self.d, several, self.d)
        own = maps.view(-1, several, self.d, self.d).permute(0, 2, 3, 1)
        blocks.diagonal(dim1=1, dim2=3).copy_(own)
        return blocks.view(-1, width, width)

    def _groups(self, blocks: Tensor) -> Tensor:
        """What is within groups `(G, d, d)` of products of blocks."""
        several = self.width // self.d
        if several == 1:
            return blocks
        own = blocks.view(-1, several, self.d, several, self.d).diagonal(dim1=1, dim2=3)
        return own.permute(0, 3, 1, 2).reshape(-1, self.d, self.d)


class Images:
    """A batch in chunks as its layout computes with them, less a `mean` `(C,)` if there is one.

    A chunk that was copied is overwritten by the next; the whole batch is kept.
    """

    def __init__(self, layout: Layout, batch: Tensor, mean: Tensor | None = None) -> None:
        self.layout, self.batch, self.mean = layout, batch, mean
        self.copied = mean is not None or not layout.direct(batch)
        self._buffer: Tensor | None = None

    def chunks(self, samples: int) -> Iterator[Tensor]:
        """So many images at a time."""
        parts = torch.split(self.batch, samples)
        if not self.copied:
            yield from parts
        elif self._buffer is not None and len(self._buffer) == len(self.batch):
            yield self._buffer
        else:
            if self._buffer is None:
                self._buffer = self.layout.buffer(parts[0])
            for part in parts:
                yield self.copy(part, self._buffer[: len(part)])

    def copy(self, chunk: Tensor, buffer: Tensor) -> Tensor:
        """A chunk as it is computed with, in the buffer."""
        if self.mean is None:
            return buffer.copy_(chunk)
        return torch.sub(chunk, self.mean[:, None, None], out=buffer)


Term = tuple[Tensor, Images]
"""Maps `(G, d, d)`, and the images that they are of."""


class Planes(Layout):
    """Contiguous: a matrix `(C, H·W)` an image."""

    memory_format = torch.contiguous_format

    def sums(self, images: Tensor) -> Tensor:
        """`Σ x` `(C,)`."""
        if not self.on_cpu:
            return images.sum((0, 2, 3))
        return self._matrices(images).sum(2).view(-1, self.channels).sum(0)

    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """`Σ l rᵀ` `(G, d, d)` by group."""
        found = torch.bmm(self._matrices(left), self._matrices(right).mT)
        blocks = self.channels // self.width
        return self._groups(found.view(-1, blocks, self.width, self.width).sum(0))

    def combine(self, like: Tensor, constant: Tensor, *terms: Term) -> Tensor:
        """`Σ map · x + constant`, in the dtype and memory format of `like`."""
        copying = not self.direct(like) or any(images.copied for _, images in terms)
        samples = self.samples(copying=copying)
        # Where that makes no copy more, the constant is added on the way out.
        late = like.dtype == self.dtype and not self.direct(like)
        maps = [self._repeated(self._blocks(own, self.width), samples) for own, _ in terms]
        constants = self._repeated(constant.view(-1, self.width, 1), samples)
        output = torch.empty_like(like)
        buffer = None if self.direct(like) else self.buffer(like[:samples])
        chunks = (images.chunks(samples) for _, images in terms)
        for out, *parts in zip(torch.split(output, samples), *chunks, strict=True):
            target = out if buffer is None else buffer[: len(out)]
            first, *others = map(self._matrices, parts)
            found, size = self._matrices(target), len(first)
            if late:
                torch.bmm(maps[0][:size], first, out=found)
            else:
                torch.baddbmm(constants[:size], maps[0][:size], first, out=found)
            for blocks, matrices in zip(maps[1:], others, strict=True):
                found.baddbmm_(blocks[:size], matrices)
            if late:
                torch.add(target, constant[:, None, None], out=out)
            elif buffer is not None:
                out.copy_(target)
        return output

    def _width(self) -> int:
        return self.d if self.on_cpu else self._at_least(WIDE)

    def _laid_out(self, memory: Tensor, shape: torch.Size) -> Tensor:
        return memory.view(shape)

    def _matrices(self, images: Tensor) -> Tensor:
        """`(k·B, width, H·W)`."""
        return images.view(-1, self.width, self.positions)

    def _repeated(self, blocks: Tensor, samples: int) -> Tensor:
        """What belongs to blocks `(B, …)`, once for each matrix of a chunk."""
        if len(blocks) == 1 and not self.on_cpu:
            return blocks.expand(samples, -1, -1)  # without a copy
        return blocks.repeat(samples, 1, 1)


class Joined(Planes):
    """Contiguous and small: one matrix `(C, N·H·W)`, which is always a copy."""

    def direct(self, X: Tensor) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def _laid_out(self, memory: Tensor, shape: torch.Size) -> Tensor:
        count, channels, height, width = shape
        return memory.view(channels, count, height, width).transpose(0, 1)

    def _matrices(self, images: Tensor) -> Tensor:
        """`(B, width, k·H·W)`."""
        return images.transpose(0, 1).view(-1, self.width, len(images) * self.positions)

    def _repeated(self, blocks: Tensor, samples: int) -> Tensor:  # noqa: ARG002
        return blocks


class Rows(Layout):
    """Channels last: one matrix `(N·H·W, C)`."""

    memory_format = torch.channels_last

    def samples(self, *, copying: bool) -> int:
        """Images of a chunk: all where nothing is copied."""
        return super().samples(copying=True) if copying else self.count

    def sums(self, images: Tensor) -> Tensor:
        """`Σ x` `(C,)`."""
        if not self.on_cpu:
            return self._matrix(images).sum(0)
        # On a CPU a product takes half of the time of a sum over rows.
        rows = images.permute(0, 2, 3, 1).flatten(1, 2)
        ones = images.new_ones(1, 1, self.positions).expand(len(rows), -1, -1)
        return torch.bmm(ones, rows).sum((0, 1))

    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """`Σ l rᵀ` `(G, d, d)` by group."""
        if self.width == self.channels and self.positions >= SMALL_IMAGE:
            # One tall product keeps one core busy, and of a GPU as many as its tiles: one an image.
            own, other = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (left, right))
            return self._groups((own.mT @ other).sum(0, keepdim=True))
        return self._groups(self._by_block(left).mT @ self._by_block(right))

    def combine(self, like: Tensor, constant: Tensor, *terms: Term) -> Tensor:
        """`Σ map · x + constant`, in the dtype and memory format of `like`."""
        widths = [self._mapped_width(), *[self.width] * (len(terms) - 1)]
        maps = [self._blocks(own, width) for (own, _), width in zip(terms, widths, strict=True)]
        every = [images for _, images in terms]
        samples = self.samples(copying=any(images.copied for images in every))
        if self.direct(like) and (samples == self.count or not every[0].copied):
            (first,) = every[0].chunks(self.count)
            output = self._mapped(maps[0], first, constant)
            for blocks, images in zip(maps[1:], every[1:], strict=True):
                outputs = torch.split(output, samples)
                for out, part in zip(outputs, images.chunks(samples), strict=True):
                    self._add(out, blocks, part)
            # Strides of a single position say where torch goes on: they stay as they were.
            return output.as_strided(like.shape, like.stride())
        samples = self.samples(copying=True)
        output = torch.empty_like(like)
        chunks = (images.chunks(samples) for images in every)
        for out, *parts in zip(torch.split(output, samples), *chunks, strict=True):
            found = self._mapped(maps[0], parts[0], constant)
            for blocks, part in zip(maps[1:], parts[1:], strict=True):
                self._add(found, blocks, part)
            out.copy_(found)
        return output

    def _add(self, found: Tensor, blocks: Tensor, images: Tensor) -> None:
        """Add `blocks · x` to `found`, which is laid out as images are, in one pass over it."""
        columns = (torch.split(self._matrix(x), self.width, 1) for x in (found, images))
        for out, x, block in zip(*columns, blocks, strict=True):
            out.addmm_(x, block.mT)

    def _convolves(self) -> bool:
        return self.on_cpu and self.dtype == torch.float32

    def _mapped_width(self) -> int:
        wide = self._at_least(CONVOLVED)
        # Of a prime number of groups there are no blocks but one of all channels.
        return wide if self._convolves() and wide <= 2 * CONVOLVED else self.width

    def _mapped(self, blocks: Tensor, images: Tensor, constant: Tensor) -> Tensor:
        """`blocks · x + constant` in new memory."""
        count, _, height, width = images.shape
        if self._convolves():
            # Half again as fast as a product of matrices, and three times for narrow blocks. With
            # fewer than 16 images torch takes another program for it.
            positions = count * self.positions
            many = next((n for n in range(16, 64) if positions % n == 0), positions)
            rows = images.permute(0, 2, 3, 1).reshape(many, 1, -1, self.channels)
            filters = blocks.reshape(self.channels, -1, 1, 1)
            found = conv2d(rows.permute(0, 3, 1, 2), filters, constant, groups=len(blocks))
            found = found.permute(0, 2, 3, 1).reshape(count, height, width, self.channels)
            return found.permute(0, 3, 1, 2)
        if len(blocks) == 1:
            found = linear(self._matrix(images), blocks[0], constant)
        else:
            found = torch.bmm(self._by_block(images), blocks.mT)
            found = found.transpose(0, 1).reshape(-1, self.channels)
            found = found.add_(constant)
        return found.view(count, height, width, self.channels).permute(0, 3, 1, 2)

    def _width(self) -> int:
        return self._at_least(NARROW if self.on_cpu else WIDE)

    def _laid_out(self, memory: Tensor, shape: torch.Size) -> Tensor:
        count, channels, height, width = shape
        return memory.view(count, height, width, channels).permute(0, 3, 1, 2)

    def _matrix(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).reshape(-1, self.channels)

    def _by_block(self, images: Tensor) -> Tensor:
        """`(B, k·H·W, width)`."""
        blocks = self.channels // self.width
        return self._matrix(images).view(-1, blocks, self.width).transpose(0, 1)


def on_cpu(X: Tensor) -> bool:
    """Whether a second look at data may hit a cache, and one at a value waits for nobody."""
    return X.device.type == "cpu"


def layout_of(X: Tensor, dtype: torch.dtype, d: int) -> Layout:
    """The layout that takes the least time for batches like `X`."""
    positions = X.shape[2] * X.shape[3]
    if positions == 1 or X.is_contiguous(memory_format=torch.channels_last) > X.is_contiguous():
        return Rows(X, dtype, d)
    return (Joined if positions < SMALL_IMAGE else Planes)(X, dtype, d)
