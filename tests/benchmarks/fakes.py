"""A clock that stands still between ticks of our own, and a benchmark that only remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FakeClock:
    """Seconds pass only where a call says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, *seconds: float) -> Callable[[], None]:
        """A callable that takes these seconds, one call after the other, then the last again."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


class FakeBenchmark:
    """What of pytest-benchmark's fixture is used, as often as wanted in one test."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, call: Callable[[], object], rounds: int) -> None:
        """Nothing is timed."""
