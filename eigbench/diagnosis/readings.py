"""Numbers that a device computes, read without waiting for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

MOST_PENDING = 64
"""So many readings may be under way, and keep their matrices, before one is waited for."""


class Reading(Protocol):
    """Numbers on their way to the host."""

    def ready(self) -> bool:
        """Whether `numbers` would not wait."""
        ...

    def numbers(self) -> list[float]:
        """The numbers, waited for if need be."""
        ...


class HostReading:
    """Numbers that are on the host already."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def ready(self) -> bool:
        """Always."""
        return True

    def numbers(self) -> list[float]:
        """The numbers."""
        numbers: list[float] = self._values.tolist()
        return numbers


class CudaReading:
    """Numbers of a CUDA device: copied into pinned memory, behind an event that tells when."""

    def __init__(self, values: Tensor) -> None:
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._host.copy_(values, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(values.device))

    def ready(self) -> bool:
        """Whether the copy is complete."""
        return bool(self._event.query())  # type: ignore[no-untyped-call]

    def numbers(self) -> list[float]:
        """The numbers, once the copy is complete."""
        self._event.synchronize()
        numbers: list[float] = self._host.tolist()
        return numbers


def read(values: Tensor) -> Reading:
    """Start to read `values` `(k,)`."""
    return CudaReading(values) if values.is_cuda else HostReading(values)


class Queue:
    """Readings in the order in which they were started, each with what to do with its numbers."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Reading, Callable[[list[float]], None]]] = deque()

    def push(self, reading: Reading, then: Callable[[list[float]], None]) -> None:
        """Add one, and deal with those that are ready."""
        self._pending.append((reading, then))
        self.drain()

    def drain(self, *, wait: bool = False) -> None:
        """Deal with the first ones that are ready; with all of them if `wait`."""
        while self._pending:
            reading, then = self._pending[0]
            if not (wait or len(self._pending) > MOST_PENDING or reading.ready()):
                return
            self._pending.popleft()
            then(reading.numbers())
