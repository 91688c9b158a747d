"""Placeholder until the chapter on trainings is merged."""

from __future__ import annotations

from eigbench.report.frame import Frames
from eigbench.report.render import Part


def part(_frames: Frames) -> Part | None:
    """Nothing yet."""
    return None
