"""How much of the machine other programs took meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

IDLE = 0.05
"""Bars are for idle cores: up to this share of them others may have, without spoiling one."""


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


def excuse(missed: BaseException, others: float, *, gate_only: bool = False) -> str | None:
    """Why a test that ended so is not to count, or None if it is.

    Bars are for idle cores: one that was missed on busy cores is no failure, and no success
    either, and with `gate_only` no bar is one. The gate is for all cores, and its alarm is not an
    assertion that failed.
    """
    if not isinstance(missed, AssertionError):
        return None
    if others > IDLE:
        return f"bar missed, but other programs took {others:.0%} of the cores"
    return f"bar missed, on idle cores: {missed}" if gate_only else None
