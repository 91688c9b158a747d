"""A report from top to bottom: what was found, what to use, and folded chapters under it."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

from eigbench.kinds import KINDS
from eigbench.report.chapters import run
from eigbench.report.frame import Frames
from eigbench.report.render import render
from eigbench.runs.store import Run

BESIDE = 0.1
"""A part with no larger a share of the cases is folded under the suite's own."""


def compose(measured: Run, folder: Path) -> tuple[str, list[str]]:
    """The Markdown of a run, and its summary for a terminal. Figures are written into `folder`."""
    measured = measured.harmless()
    frames = Frames(measured, folder)
    suite = measured.suite
    named = dict.fromkeys([KINDS[suite.kind].part, *(kind.part for kind in KINDS.values())])
    found = {name: part for name in named if (part := resolve_name(name)(frames)) is not None}
    beside = [name for name in list(found)[1:] if _share(measured, name) <= BESIDE]
    parts = [part for name, part in found.items() if name not in beside]
    text = render(
        "report",
        title=suite.title or suite.name,
        parts=parts,
        beside=[found[name] for name in beside],
        chapters=run.chapters(frames),
        missing=len(measured.missing),
        planned=len(measured.plan),
        parameters=suite.parameters,
        notes=measured.notes,
    )
    return text + "\n", [sentence for part in parts for sentence in part.summary]


def _share(measured: Run, part: str) -> float:
    """The share of a run's records that this part shows."""
    own = sum(KINDS[record.case.kind].part == part for record in measured.records)
    return own / max(len(measured.records), 1)
