"""Two runs, case by case: what got better, worse or stayed, and what chance could have done."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from eigbench.errors import InputError
from eigbench.runs.store import Run, read_run

if TYPE_CHECKING:
    from eigbench.report.compare.result import Comparison

LEAST_SLOWDOWN = 0.05
"""A time that grew by less is no regression, however sure it is."""


def compare(a: Path, b: Path, threshold: float = LEAST_SLOWDOWN) -> Comparison:
    """Hold the run in folder `b` against the one in folder `a`.

    A time counts as a regression if it grew by more than `threshold`, a share, and beyond chance.
    `InputError` if one of the folders holds no run, or nothing that the other one holds, or if the
    threshold is not a number from 0 on.
    """
    if not 0 <= threshold < math.inf:
        raise InputError(f"threshold: {threshold} is not valid; accepted: numbers from 0 on")
    runs = (_read(a), _read(b))
    from eigbench.report.compare.comparing import compared  # late: scipy

    return compared((str(a), runs[0]), (str(b), runs[1]), threshold)


def _read(folder: Path) -> Run:
    run = read_run(folder)
    if not run.records:
        raise InputError(f"{folder} holds no records yet: there is nothing to compare")
    return run
