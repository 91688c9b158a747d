"""What a report of profiles has of its own, in its order."""

from __future__ import annotations

from pathlib import Path

from eigbench.kinds.profile import ProfileCase
from eigbench.report.profile import (
    calls,
    cliffs,
    curves,
    dots,
    published,
    reading,
    resources,
    scaling,
    steps,
    tables,
    traces,
    work,
)
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import gather
from eigbench.report.profile.verdict import verdict
from eigbench.runs.store import Run


class Body:
    """The parts of a report that are about profiles; all are empty if a run has none."""

    def __init__(self, run: Run) -> None:
        profiled = any(isinstance(record.case, ProfileCase) for record in run.records)
        self.profiles = gather(run.plan, run.records) if profiled else []
        self._run = run
        self._names = Names(self.profiles)
        self._cliffs = cliffs.find(self.profiles, self._names)

    def opening(self) -> list[str]:
        """A warning, if the times are not all of one machine."""
        return reading.warnings(self._run, self.profiles)

    def verdict(self) -> list[str]:
        """Sentences that the numbers produce."""
        return verdict(self._run, self.profiles, self._names, self._cliffs)

    def sections(self, folder: Path) -> list[str]:
        """Everything between the verdict and the failures. Figures go into `folder`."""
        if not self.profiles:
            return []
        shown = self.profiles, self._names
        return [
            *reading.how_to_read(*shown),
            *_titled(
                "## The operation", [*self._curves("operation", folder), *tables.operation(*shown)]
            ),
            *_titled("## The layer", [*self._curves("layer", folder), *tables.layer(*shown)]),
            *_titled(
                "## The training step", [*dots.step_time(*shown, folder), *steps.sections(*shown)]
            ),
            *calls.sections(*shown),
            *self._growth(),
            *resources.sections(*shown),
            *work.sections(*shown),
            *traces.sections(*shown, folder, packed=self._run.suite.bundle),
            *published.sections(*shown),
        ]

    def _curves(self, subject: str, folder: Path) -> list[str]:
        return curves.sections(subject, self.profiles, self._names, self._cliffs, folder)

    def _growth(self) -> list[str]:
        found = scaling.sections(self.profiles, self._names)
        if not found and not self._cliffs:
            return []
        return ["## How the time grows", *found, *cliffs.sections(self._cliffs)]


def _titled(title: str, parts: list[str]) -> list[str]:
    return [title, *parts] if parts else []
