"""Bars: how many times its reference something may take, by the wall's clock, on idle cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eigbench.report import stats
from tests.benchmarks.gate import Call, record, time_beside

IDLE = 0.05
"""Up to this share of the cores other programs may take, without spoiling a bar."""


@dataclass(frozen=True)
class Bar:
    """Called by a test that limits a ratio of elapsed times."""

    benchmark: Any
    others: Callable[[], float]
    """The share of all cores that other programs took since the test began."""

    def __call__(self, first: Call, second: Call, limit: float, seconds: float) -> None:
        """Fail if first/second is above `limit`, in two measurements; skip it on busy cores."""
        for factor in (1, 2):
            rounds = time_beside(first, second, time.perf_counter, factor * seconds)
            ratio = stats.middle(rounds.ratios)
            if ratio <= limit:
                break
        record(self.benchmark, first, rounds)
        if ratio > limit and self.others() > IDLE:
            pytest.skip(f"{ratio:.3g} > {limit:.3g}, but others took {self.others():.0%} of cores")
        assert ratio <= limit


class Used(NamedTuple):
    """Seconds since some moment, of all cores together."""

    total: float
    idle: float
    own: float


def used(stat: Path = Path("/proc/stat")) -> Used | None:
    """What was used until now; None where the system does not tell (other than Linux)."""
    try:
        fields = stat.read_text("ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    # user, nice, system, idle, waiting, two kinds of interrupts, and what the host took: in ticks.
    seconds = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields]
    children = os.times()
    own = time.process_time() + children.children_user + children.children_system
    return Used(sum(seconds), seconds[3] + seconds[4], own)


def share_of_others(before: Used | None, after: Used | None) -> float:
    """The share of all cores' time that neither was idle nor ours; 0 if it is not known."""
    if before is None or after is None or after.total <= before.total:
        return 0.0
    passed = after.total - before.total
    others = passed - (after.idle - before.idle) - (after.own - before.own)
    return max(others / passed, 0.0)
