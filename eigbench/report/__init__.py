"""Reports: a pure function of what a run's folder holds. Nothing here measures."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eigbench.errors import harmless
from eigbench.report import copies
from eigbench.runs.store import REPORT, read_run, write_whole


def write_report(folder: Path) -> str:
    """Write `report.md`, `report.html` and `figures/` from the records in `folder`.

    Returns the report's first sentences, for a terminal. The same records give the same bytes.
    `InputError` if there is no run.
    """
    with _garbage_kept():
        run = read_run(folder)
        with copies.beside():
            from eigbench.report.compose import compose  # late: matplotlib, polars
            from eigbench.report.render import page

            text, summary = compose(run, folder)
        for picture in (folder / "figures").glob("*.png"):
            if f"figures/{picture.name}" not in text:  # of a report of an earlier version
                picture.unlink()
        write_whole(folder / REPORT, text.encode())
        html = page(text, folder, harmless(run.suite.title or run.suite.name))
        write_whole((folder / REPORT).with_suffix(".html"), html.encode())
    return "\n".join(summary)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Figures make objects by the hundred thousand; looking for cycles in them takes a fifth.

    Afterwards they are old objects, which the next whole collection looks at.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()
