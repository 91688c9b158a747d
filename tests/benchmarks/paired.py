"""Two callables timed in turn, so that what the machine does meanwhile hits both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paired:
    """Raw seconds of two callables; entry i of one was measured next to entry i of the other."""

    first_seconds: tuple[float, ...]
    second_seconds: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """first/second of each pair."""
        both = zip(self.first_seconds, self.second_seconds, strict=True)
        return tuple(first / second for first, second in both)

    @property
    def ratio(self) -> float:
        """The median of `ratios`: a pause of the machine spoils a pair, not the answer."""
        return statistics.median(self.ratios)


def time_in_turn(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    pairs: int,
    warm_up: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Paired:
    """Time `pairs` calls of each, after `warm_up` untimed calls of each.

    The order alternates from pair to pair: first, second; second, first; and so on. So neither
    always finds the caches as the other left them. `clock` gives seconds.
    """
    if pairs < 1:
        raise ValueError(f"pairs must be 1 or more, not {pairs}")
    for _ in range(warm_up):
        first()
        second()
    firsts: list[float] = []
    seconds: list[float] = []
    for pair in range(pairs):
        order = [(first, firsts), (second, seconds)]
        for call, samples in order if pair % 2 == 0 else reversed(order):
            start = clock()
            call()
            samples.append(clock() - start)
    return Paired(tuple(firsts), tuple(seconds))


def record_ratio(
    benchmark: Any, first: Callable[[], object], second: Callable[[], object], *, pairs: int
) -> float:
    """first/second, which the benchmark's record keeps along with the raw seconds."""
    timed = time_in_turn(first, second, pairs=pairs)
    benchmark.extra_info["ratio"] = timed.ratio
    benchmark.extra_info["first_seconds"] = list(timed.first_seconds)
    benchmark.extra_info["second_seconds"] = list(timed.second_seconds)
    benchmark(first)
    return timed.ratio


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch on so many threads, and then on as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
