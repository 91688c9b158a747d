"""One benchmark, as every test of this folder runs it: timed in turn, recorded, judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import baseline
from tests.benchmarks.gate import Estimate, Verdict, judge
from tests.benchmarks.paired import Clock, Paired, Timed, repeated, time_in_turn

PAIRS = 1001
SECONDS = 2.0
"""Several hundred pairs of what takes a few milliseconds."""
LEAST_LONG = 7
"""Pairs of what takes a second on a busy machine, such as a training step."""
PAUSE_SECONDS = 10.0
"""Before an alarm's last measurement, so that a short disturbance passes."""
RECORDED_SECONDS = 0.2
"""For the absolute times in the record of pytest-benchmark, which nothing is judged by."""


@dataclass(frozen=True)
class Gate:
    """Called once by a test, with what is benchmarked and its reference of the same kind."""

    name: str
    benchmark: Any
    where: str
    path: Path
    accepting: bool
    verdicts: dict[str, Verdict]
    clock: Clock = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    def __call__(
        self,
        first: Callable[[], object],
        second: Callable[[], object],
        *,
        second_calls: int = 1,
        seconds: float = SECONDS,
        cpu: Clock = time.process_time,
    ) -> Paired:
        """Time both in turn for `seconds` and compare CPU times with the baseline.

        The pairs by the wall's clock are returned, for a test that has a bar of its own. Where
        `second` is much shorter than `first`, a pair holds `second_calls` calls of it.
        """
        taken: list[Timed] = []

        def measure(factor: int) -> Estimate:
            timed = time_in_turn(
                first,
                repeated(second, second_calls) if second_calls > 1 else second,
                pairs=PAIRS * factor,
                seconds=seconds * factor,
                clock=self.clock,
                cpu=cpu,
            )
            taken.append(timed)
            low, high = timed.cpu.interval
            return Estimate(ratio=timed.cpu.ratio, low=low, high=high, pairs=len(timed.cpu.ratios))

        if self.accepting:
            verdict = Verdict((measure(1),), "accepted")
            baseline.accept(self.name, verdict.estimates[0], self.where, self.path)
        else:
            entry = baseline.read(self.path).get(self.name)
            pause = partial(self.sleep, PAUSE_SECONDS)
            verdict = judge(self.name, measure, entry, self.where, pause)
        self.verdicts[self.name] = verdict
        record(self.benchmark, first, taken[0], verdict)
        if verdict.alarm is not None:
            pytest.fail(verdict.alarm, pytrace=False)
        return taken[0].wall


def record_ratio(
    benchmark: Any,
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    limit: float,
    seconds: float,
    warm_up: int = 2,
) -> float:
    """first/second by the wall's clock, for a bar on it: it is to be `limit` or less.

    What misses its bar is measured once more with twice the pairs, and that is the answer then.
    """
    timed = time_in_turn(
        first, second, pairs=PAIRS, least=LEAST_LONG, seconds=seconds, warm_up=warm_up
    )
    if timed.wall.ratio > limit:
        timed = time_in_turn(
            first, second, pairs=PAIRS, least=2 * LEAST_LONG, seconds=2 * seconds, warm_up=0
        )
    record(benchmark, first, timed)
    return timed.wall.ratio


def record(
    benchmark: Any, first: Callable[[], object], timed: Timed, verdict: Verdict | None = None
) -> None:
    """Keep everything in the benchmark's record, and a few absolute times of `first`."""
    info = benchmark.extra_info
    info["wall_ratio"], info["cpu_ratio"] = timed.wall.ratio, timed.cpu.ratio
    if verdict is not None:
        info["outcome"] = verdict.outcome
        info["estimates"] = [
            [estimate.low, estimate.ratio, estimate.high] for estimate in verdict.estimates
        ]
    for clock, paired in (("wall", timed.wall), ("cpu", timed.cpu)):
        info[f"first_{clock}_seconds"] = list(paired.first_seconds)
        info[f"second_{clock}_seconds"] = list(paired.second_seconds)
    rounds = round(RECORDED_SECONDS / max(min(timed.wall.first_seconds), 1e-9))
    benchmark.pedantic(first, rounds=min(max(rounds, 3), 100))
