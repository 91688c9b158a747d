"""Two callables timed in turn, so that what the machine does meanwhile hits both alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from tests.benchmarks.interval import median_interval

Clock = Callable[[], float]
"""Seconds, of which only differences mean anything."""

PATIENCE = 3
"""How many times longer than on an idle machine the pairs may take."""


@dataclass(frozen=True)
class Paired:
    """Raw seconds of two callables; entry i of one was measured next to entry i of the other."""

    first_seconds: tuple[float, ...]
    second_seconds: tuple[float, ...]

    @cached_property
    def ratios(self) -> tuple[float, ...]:
        """first/second of each pair."""
        both = zip(self.first_seconds, self.second_seconds, strict=True)
        return tuple(first / second for first, second in both)

    @property
    def ratio(self) -> float:
        """The median of `ratios`: a pause of the machine spoils a pair, not the answer."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the median of `ratios` lies at 99 %."""
        return median_interval(self.ratios)


@dataclass(frozen=True)
class Timed:
    """The same pairs by two clocks."""

    wall: Paired
    """What a user waits for."""
    cpu: Paired
    """What the processor worked: another program on the same core does not count in."""


def time_in_turn(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    pairs: int,
    least: int = 15,
    seconds: float = math.inf,
    warm_up: int = 5,
    clock: Clock = time.perf_counter,
    cpu: Clock = time.process_time,
) -> Timed:
    """Time up to `pairs` calls of each, after `warm_up` untimed calls of each.

    It stops once the pairs have taken `seconds` of work by `cpu`, or three times as long by
    `clock`, though not before `least` pairs: on a busy machine it takes longer rather than to
    know less. The order alternates from pair to pair: first, second; second, first; and so on. So
    neither always finds the caches as the other left them.
    """
    if pairs < 1:
        raise ValueError(f"pairs must be 1 or more, not {pairs}")
    for _ in range(warm_up):
        first()
        second()
    wall: tuple[list[float], list[float]] = ([], [])
    work: tuple[list[float], list[float]] = ([], [])
    spent, end = 0.0, clock() + PATIENCE * seconds
    for pair in range(pairs):
        if pair >= least and (spent >= seconds or clock() >= end):
            break
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            call = (first, second)[which]
            start, start_of_work = clock(), cpu()
            call()
            worked, passed = cpu() - start_of_work, clock() - start
            work[which].append(worked)
            wall[which].append(passed)
            spent += worked
    return Timed(Paired(*map(tuple, wall)), Paired(*map(tuple, work)))


def repeated(call: Callable[[], object], times: int) -> Callable[[], object]:
    """`call`, so many times: something short, to be timed beside something long."""

    def calls() -> None:
        for _ in range(times):
            call()

    return calls
