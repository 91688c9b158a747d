"""Trainings as cells: the trials of one cell differ in their seed alone. Summaries are here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from eigbench.kinds import Case
from eigbench.kinds.train import TrainCase
from eigbench.report.training.spikes import NONE, Spikes, spikes
from eigbench.runs.record import Record

Floats = NDArray[np.float64]

WITHOUT = ("bn", "none")
"""Layers that decompose nothing."""

LAST_SHARE = 0.1
"""The final training loss is the mean of this last share of the steps."""


@dataclass(frozen=True)
class Trial:
    """One training that was started: it finished, diverged, or failed with an exception."""

    record: Record
    case: TrainCase

    @property
    def outcome(self) -> str:
        """How it ended: "finished", "diverged" or "failed"."""
        if self.record.status == "failed":
            return "failed"
        return "finished" if self.record.labels.get("outcome") == ["finished"] else "diverged"

    def values(self, metric: str) -> Floats:
        """The raw values of a metric; empty if it has none."""
        return np.array(self.record.values(metric), dtype=np.float64)

    def label(self, name: str) -> str:
        """A word of the record, "" if it is not there."""
        return next(iter(self.record.labels.get(name, [])), "")

    @property
    def error(self) -> float:
        """Test error as a share; NaN if there is none."""
        return next(iter(self.record.values("test_error")), float("nan"))

    @property
    def step_seconds(self) -> float:
        """The median step; NaN if none was timed."""
        return middle(self.values("step_seconds"))

    @cached_property
    def spikes(self) -> dict[str, Spikes]:
        """By metric: of the whole net's gradient, and of that through the layer."""
        names = ("gradient_norm", "layer_gradient_norm")
        return {name: spikes(self.values(name)) for name in names}

    @property
    def final_loss(self) -> float:
        """Mean training loss of the last steps; NaN if there is none."""
        loss = self.values("loss")
        last = max(1, round(LAST_SHARE * len(loss)))
        return float(loss[-last:].mean()) if len(loss) else float("nan")

    @property
    def learned(self) -> bool:
        """Whether the last steps' loss is below that of as many first ones."""
        loss = self.values("loss")
        last = max(1, round(LAST_SHARE * len(loss)))
        return len(loss) > 1 and bool(loss[-last:].mean() < loss[:last].mean())


@dataclass(frozen=True)
class Cell:
    """The trials of one cell, none of them if it was planned and not measured."""

    case: TrainCase
    trials: tuple[Trial, ...] = ()
    skipped: tuple[Record, ...] = ()

    def of(self, outcome: str) -> list[Trial]:
        """The trials that ended so."""
        return [trial for trial in self.trials if trial.outcome == outcome]

    @property
    def finished(self) -> list[Trial]:
        """The trials that reached their last step."""
        return self.of("finished")

    @property
    def decomposes(self) -> bool:
        """Whether its layer has a decomposition to differentiate."""
        return self.case.layer not in WITHOUT

    @property
    def success(self) -> tuple[int, int]:
        """Finished trials, and all that were started."""
        return len(self.finished), len(self.trials)

    @property
    def errors(self) -> Floats:
        """Test errors of the finished trials, as shares."""
        return np.array([trial.error for trial in self.finished], dtype=np.float64)

    @property
    def step_seconds(self) -> Floats:
        """Median step by trial, of those that have one."""
        return finite(np.array([trial.step_seconds for trial in self.trials]))

    def spikes(self, metric: str) -> Spikes:
        """Spikes over all trials."""
        return reduce(Spikes.__add__, (trial.spikes[metric] for trial in self.trials), NONE)

    def mean_of(self, metric: str) -> float:
        """The mean over all steps of all trials at which the metric is finite; NaN of none."""
        values = finite(joined(trial.values(metric) for trial in self.trials))
        return float(values.mean()) if len(values) else float("nan")


def gather(planned: Iterable[Case], records: Iterable[Record]) -> list[Cell]:
    """The cells of a run: the planned ones in their order, then any other that has records."""
    cases: dict[str, TrainCase] = {}
    found: dict[str, list[Record]] = {}
    for case in planned:
        if isinstance(case, TrainCase):
            cases.setdefault(case.cell.id, case.cell)
    for record in records:
        if isinstance(record.case, TrainCase):
            cases.setdefault(record.case.cell.id, record.case.cell)
            found.setdefault(record.case.cell.id, []).append(record)
    return [_cell(case, found.get(key, [])) for key, case in cases.items()]


def _cell(case: TrainCase, records: Sequence[Record]) -> Cell:
    trials = [
        Trial(record, record.case)
        for record in records
        if isinstance(record.case, TrainCase) and record.status != "skipped"
    ]
    skipped = [record for record in records if record.status == "skipped"]
    return Cell(case, tuple(sorted(trials, key=lambda trial: trial.case.seed)), tuple(skipped))


def baseline(cells: Iterable[Cell], of: Cell) -> Cell | None:
    """The batch normalisation of the same network, if it is among the cells."""
    same = (c for c in cells if c.case.layer == "bn" and c.case.model == of.case.model)
    return next(same, None)


def success_of(cells: Iterable[Cell]) -> tuple[int, int]:
    """Finished trials of all the cells, and all that were started."""
    successes = [cell.success for cell in cells]
    return sum(finished for finished, _ in successes), sum(trials for _, trials in successes)


def trials_of(cells: Iterable[Cell]) -> list[Trial]:
    """Every trial, cell by cell."""
    return [trial for cell in cells for trial in cell.trials]


def pooled(cells: Iterable[Cell], value: Callable[[Trial], float]) -> Floats:
    """A number of every trial."""
    return np.array([value(trial) for trial in trials_of(cells)], dtype=np.float64)


def finite(values: Floats) -> Floats:
    """Those that are finite."""
    return values[np.isfinite(values)]


def joined(arrays: Iterable[Floats]) -> Floats:
    """One array of several; empty of none."""
    return np.concatenate([np.array([], dtype=np.float64), *arrays])


def middle(values: Floats) -> float:
    """The median of the finite values; NaN of none."""
    kept = finite(values)
    return float(np.median(kept)) if len(kept) else float("nan")
