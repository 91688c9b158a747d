"""What a report of trainings has of its own, in its order."""

from __future__ import annotations

from pathlib import Path

from eigbench.kinds.train import TrainCase
from eigbench.report.training import compared, differences, figures, scale, survival, tables
from eigbench.report.training.cells import gather
from eigbench.report.training.verdict import verdict
from eigbench.runs.store import Run


class Body:
    """The parts of a report that are about trainings; all are empty if a run has none."""

    def __init__(self, run: Run) -> None:
        trains = run.suite.training is not None
        trained = any(isinstance(record.case, TrainCase) for record in run.records)
        planned = run.plan if trains or trained else []
        self.cells = gather(planned, run.records)
        self._run = run
        self._found = differences.comparisons(self.cells)

    def opening(self) -> list[str]:
        """Right under the title: what was trained, and what the paper trained."""
        if not self.cells:
            return []
        return [scale.sentence(self._run, self.cells), *scale.warnings(self.cells)]

    def verdict(self) -> list[str]:
        """Sentences that the numbers produce."""
        papers = scale.is_papers(self._run, self.cells)
        return verdict(self._run.suite.compare, self.cells, self._found, papers=papers)

    def sections(self, folder: Path) -> list[str]:
        """Everything between the verdict and the failures. Figures go into `folder`."""
        if not self.cells:
            return []
        compare = self._run.suite.compare
        return [
            *survival.sections(self.cells),
            *tables.how_to_read(),
            *figures.sections(compare, self.cells, folder),
            *compared.sections(compare, self.cells),
            *tables.every_cell(self.cells),
            *differences.sections(self.cells, self._found),
            *tables.gradient_spikes(self.cells),
            *tables.divergences(self.cells),
        ]
