"""A report from top to bottom: what was found, what to use, and folded chapters under it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eigbench.kinds import KINDS
from eigbench.report.chapters import profile, run, stability, training
from eigbench.report.frame import Frames
from eigbench.report.render import Part, render
from eigbench.runs.store import Run

PARTS: dict[str, Callable[[Frames], Part | None]] = {
    "stability": stability.part,
    "profile": profile.part,
    "train": training.part,
}
"""By the kind of a suite; that of the suite's own kind comes first."""


BESIDE = 0.1
"""A part with no larger a share of the cases is folded under the suite's own."""


def compose(measured: Run, folder: Path) -> tuple[str, list[str]]:
    """The Markdown of a run, and its summary for a terminal. Figures are written into `folder`."""
    measured = measured.harmless()
    frames = Frames(measured, folder)
    suite = measured.suite
    kinds = sorted(PARTS, key=lambda kind: kind != suite.kind)
    found = {kind: part for kind in kinds if (part := PARTS[kind](frames)) is not None}
    beside = {kind for kind in list(found)[1:] if _share(measured, kind) <= BESIDE}
    parts = [part for kind, part in found.items() if kind not in beside]
    text = render(
        "report",
        title=suite.title or suite.name,
        parts=parts,
        beside=[found[kind] for kind in found if kind in beside],
        chapters=run.chapters(frames),
        missing=len(measured.missing),
        planned=len(measured.plan),
        parameters=suite.parameters,
        bundle=suite.bundle,
        notes=measured.notes,
    )
    return text + "\n", [sentence for part in parts for sentence in part.summary]


def _share(measured: Run, kind: str) -> float:
    """The share of a run's records that are of this kind."""
    own = sum(type(record.case) is KINDS[kind].case for record in measured.records)
    return own / max(len(measured.records), 1)
