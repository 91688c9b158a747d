"""Two runs, case by case: what became better or worse, and what could be chance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from eigbench.errors import InputError
from eigbench.runs.store import read_run

if TYPE_CHECKING:
    from eigbench.compare.model import Comparison

LEAST_SLOWDOWN = 0.05
"""A time that grew by less is no regression, however sure it is."""


def compare(a: Path, b: Path, threshold: float = LEAST_SLOWDOWN) -> Comparison:
    """Compare the run in folder `b` with the one in folder `a`.

    A time counts as a regression if it grew by more than `threshold`, a share, and beyond chance.
    `InputError` if one of the folders holds no run, or nothing that the other one holds, or if the
    threshold is not a number from 0 on.
    """
    if not 0 <= threshold < math.inf:
        raise InputError(f"threshold: {threshold} is not valid; accepted: numbers from 0 on")
    runs = read_run(a).harmless(), read_run(b).harmless()
    for folder, run in zip((a, b), runs, strict=True):
        if not run.records:
            raise InputError(f"{folder} holds no records yet: there is nothing to compare")
    from eigbench.compare.judge import compare_runs  # late: scipy

    return compare_runs((str(a), runs[0]), (str(b), runs[1]), threshold)
