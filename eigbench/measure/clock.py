"""Clocks for timing: what a mark is, and how many seconds lie between two of them."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments of the work that is timed; marks are read after `settle`."""

    name: str

    def mark(self) -> Any:
        """This moment."""
        ...

    def settle(self) -> None:
        """Return when all the work before is done."""
        ...

    def seconds(self, earlier: Any, later: Any) -> float:
        """Seconds from one mark to another, after `settle`."""
        ...


class WallClock:
    """For work that is done when its call returns, as on a CPU."""

    name = "wall"

    def mark(self) -> float:
        """Seconds of the finest clock that only goes forward."""
        return time.perf_counter()

    def settle(self) -> None:
        """Nothing: the work is done."""

    def seconds(self, earlier: float, later: float) -> float:
        """The difference."""
        return later - earlier


class CudaClock:
    """For work that is still queued when its call returns.

    An event is a mark in the stream itself: the device notes when it gets there. The queue is empty
    before the first mark, so that work that the host launches too slowly to keep the device busy
    counts as the time it takes.
    """

    name = "cuda events"

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        """An event in the current stream."""
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        """As the device measured it, which is to half a microsecond."""
        return float(earlier.elapsed_time(later)) / 1000


def clock_for(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if device.type == "cuda" else WallClock()
