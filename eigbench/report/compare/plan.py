"""Whether a run is whole, found without importing torch where that is possible."""

from __future__ import annotations

from pathlib import Path

from eigbench.runs.store import REPORT, Run
from eigbench.runs.suite import cases

_PARTIAL = "**Partial report.**"


def missing(folder: Path, run: Run) -> int:
    """How many cases of its suite the run in `folder` has no record of."""
    # The parameters of a method, and so the cases of a suite, are known by importing it and torch,
    # which takes seconds. A run that came to its end has a report that does not call it partial; a
    # run that was interrupted has one that does, and one that was killed has that, or none.
    report = folder / REPORT
    if report.is_file() and _PARTIAL not in report.read_text(encoding="utf-8", errors="replace"):
        return 0
    recorded = {record.id for record in run.records}
    return sum(case.id not in recorded for case in cases(run.suite))
