"""Reports: a pure function of what a run's folder holds. Nothing here measures."""

from __future__ import annotations

from pathlib import Path

from eigbench.runs.store import REPORT, read_run, write_whole


def write_report(folder: Path) -> str:
    """Write `report.md` and `figures/` from the records in `folder`; returns the verdict.

    `InputError` if there is no run. The same records give the same bytes.
    """
    run = read_run(folder)
    from eigbench.report.compose import compose  # late: matplotlib

    text, verdict = compose(run, folder)
    write_whole(folder / REPORT, text.encode())
    return verdict
