"""The records that the questions of the field are answered from, by method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.report.costs import Costs
from eigbench.report.frame import Frames
from eigbench.report.rows import Floats, Row, pooled, stability_rows, usual
from eigbench.report.stats import Interval
from eigbench.runs.case import InvarianceCase, PathCase, ProfileCase, StabilityCase
from eigbench.runs.record import Record
from eigbench.runs.store import Run


@dataclass(frozen=True)
class Timed:
    """A case, and its time over that of its reference."""

    case: ProfileCase
    ratio: Interval | None


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything of a run, each kind of record for itself."""

    run: Run

    @property
    def iterations(self) -> int:
        """The suite's usual K: the first of its axis."""
        return (self.run.suite.axes.iterations or [19])[0]

    @cached_property
    def rows(self) -> list[Row]:
        """The stability rows at the suite's usual K and starts."""
        return usual(stability_rows(self.run.records), self.iterations)

    @cached_property
    def refused(self) -> dict[str, dict[str, str]]:
        """Of each method, the losses that it cannot take, and why."""
        found: dict[str, dict[str, str]] = {}
        measured = {(row.case.method, row.case.loss) for row in self.rows}
        for record in self.run.records:
            case = record.case
            if not isinstance(case, StabilityCase) or record.status != "skipped":
                continue
            if (case.method, case.loss) not in measured:
                found.setdefault(case.method, {})[case.loss] = record.reason or ""
        return found

    @cached_property
    def methods(self) -> list[str]:
        """Every method of the run, in the order of its cases, measured or refused."""
        cases = (r.case for r in self.run.records)
        kinds = StabilityCase | InvarianceCase | PathCase
        return list(dict.fromkeys(case.method for case in cases if isinstance(case, kinds)))

    @cached_property
    def paths(self) -> list[Record]:
        """Of paths through a crossing, measured."""
        return self._of(PathCase)

    @cached_property
    def invariances(self) -> list[Record]:
        """Of what must not change a gradient, measured."""
        return self._of(InvarianceCase)

    @cached_property
    def profiles(self) -> list[Timed]:
        """Of operations, timed against their reference."""
        costs = Costs(Frames(self.run, Path()))
        return [
            Timed(case, costs.ratios[key])
            for key, record in costs.records.items()
            if isinstance(case := record.case, ProfileCase)
            and case.subject == "operation"
            and not case.compiled
        ]

    def promised(self, method: str) -> set[str]:
        """What a method says of itself, as far as its records remember it."""
        own = of_method(self.paths, method)
        return {promise for record in own for promise in record.labels.get("promises", [])}

    def _of(self, kind: Any) -> list[Record]:
        return [
            record
            for record in self.run.records
            if isinstance(record.case, kind) and record.status == "measured"
        ]


def largest(rows: Iterable[Row], metric: str | Callable[[Row], Any]) -> float:
    """The largest value over all seeds, infinite where one is NaN; NaN of nothing."""
    values = pooled(rows, metric if callable(metric) else lambda row: row.metric(metric))
    return float(np.where(np.isnan(values), np.inf, values).max()) if len(values) else float("nan")


def array(record: Record, metric: str) -> Floats:
    """A metric's raw values."""
    return np.array(record.values(metric), dtype=np.float64)


def of_method(records: Sequence[Record], method: str) -> list[Record]:
    """The records of one method."""
    return [record for record in records if getattr(record.case, "method", None) == method]


def finite_gradients(row: Row) -> NDArray[np.bool_]:
    """By seed: whether there is a gradient without NaN and infinities."""
    flags = row.metric("gradient_finite")
    return flags == 1 if len(flags) else np.zeros(row.case.seeds, dtype=bool)
