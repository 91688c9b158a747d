"""A report from top to bottom: what was found, what to use, and folded chapters under it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def compose(measured: Run, folder: Path) -> tuple[str, list[str]]:
    """The Markdown of a run, and its summary for a terminal. Figures are written into `folder`."""
    frames = Frames(measured, folder)
    suite = measured.suite
    kinds = sorted(PARTS, key=lambda kind: kind != suite.kind)
    parts = [part for kind in kinds if (part := PARTS[kind](frames)) is not None]
    text = render(
        "report",
        title=suite.title or suite.name,
        parts=parts,
        chapters=run.chapters(frames),
        missing=len(measured.missing),
        planned=len(measured.plan),
        parameters=suite.parameters,
        bundle=suite.bundle,
    )
    return text + "\n", [sentence for part in parts for sentence in part.summary]
