"""What a stability report has beyond the paper's questions, in its order."""

from __future__ import annotations

from pathlib import Path

from eigbench.report.field import (
    coefficients,
    conditions,
    formulas,
    invariances,
    pareto,
    paths,
    promises,
    repeated,
    uses,
)
from eigbench.report.field.measured import Measured
from eigbench.report.markdown import table
from eigbench.runs.store import Run


class Body:
    """The parts of a report that compare the field; each is empty if a run cannot answer it."""

    def __init__(self, run: Run) -> None:
        self.measured = Measured(run)

    def verdict(self) -> list[str]:
        """For each use, which method the numbers choose."""
        sentences = []
        for use in uses.USES:
            found = uses.standings(self.measured, use)
            if len(found) > 1:
                chosen, slower = uses.recommended(found)
                also = f"; as right but slower: {slower}" if slower else ""
                sentences.append(f"For {use.title} use {chosen}{also}.")
        return sentences

    def opening(self) -> list[str]:
        """The answers, before everything else."""
        return [
            *uses.sections(self.measured),
            *promises.sections(self.measured),
        ]

    def sections(self, folder: Path) -> list[str]:
        """One question after the other. Figures go into `folder`."""
        measured = self.measured
        return [
            *pareto.sections(measured, folder),
            *coefficients.sections(measured, folder),
            *formulas.sections(measured),
            *paths.sections(measured, folder),
            *invariances.sections(measured),
            *repeated.sections(measured),
            *conditions.sections(measured),
            *self._refused(),
        ]

    def _refused(self) -> list[str]:
        """Methods that are in no table above for some losses, and why."""
        body = [
            [method, ", ".join(losses), reason]
            for method, by_loss in self.measured.refused.items()
            for reason in dict.fromkeys(by_loss.values())
            for losses in [[loss for loss, why in by_loss.items() if why == reason]]
        ]
        if not body:
            return []
        return ["## What some methods cannot do", table(["method", "loss", "reason"], body)]
