"""Records as rows to select, group and summarise. Summaries are computed here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.kinds.stability import StabilityCase
from eigbench.runs.record import Record

RIGHT = 0.01
"""A gradient counts as right up to this relative error."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One stability record that was measured or failed."""

    record: Record
    case: StabilityCase

    @cached_property
    def success(self) -> NDArray[np.bool_]:
        """By seed: eigenpairs and gradient finite, gradient inside the bound of Eq. 12."""
        if self.record.status == "failed":
            return np.zeros(self.case.seeds, dtype=bool)
        flags = [self.metric(m) for m in ("forward_finite", "gradient_finite", "inside_bound")]
        succeeded: NDArray[np.bool_] = np.all(np.stack(flags) == 1, axis=0)
        return succeeded

    @cached_property
    def error(self) -> Floats:
        """By seed: relative error of the gradient; infinite where there is none."""
        if self.record.status == "failed":
            return np.full(self.case.seeds, np.inf)
        error = self.metric("gradient_error")
        return np.where(np.isnan(error), np.inf, error)

    def metric(self, name: str) -> Floats:
        """Raw values by seed; empty if the case failed or has no such metric."""
        return np.array(self.record.values(name), dtype=np.float64)


def stability_rows(records: Iterable[Record]) -> list[Row]:
    """The rows of a run: all stability records but the skipped ones."""
    return [
        Row(record, record.case)
        for record in records
        if isinstance(record.case, StabilityCase) and record.status != "skipped"
    ]


def where(rows: Iterable[Row], **axes: Any) -> list[Row]:
    """The rows whose case has these values."""
    return [
        row for row in rows if all(getattr(row.case, axis) == value for axis, value in axes.items())
    ]


def values_of(rows: Iterable[Row], axis: str) -> list[Any]:
    """The values that an axis takes, numbers descending, words in order of appearance."""
    values = list(dict.fromkeys(getattr(row.case, axis) for row in rows))
    present = [value for value in values if value is not None]
    numeric = all(isinstance(value, int | float) for value in present)
    return sorted(present, reverse=axis == "gap") if numeric else present


def pooled(rows: Iterable[Row], values: Callable[[Row], Any]) -> Floats:
    """A quantity of all rows, seed by seed, in one array."""
    arrays = [np.asarray(values(row), dtype=np.float64) for row in rows]
    return np.concatenate(arrays) if arrays else np.array([])


def success_rate(rows: Sequence[Row]) -> float:
    """Share of seeds that succeeded; NaN if there are none."""
    flags = pooled(rows, lambda row: row.success)
    return float(flags.mean()) if len(flags) else float("nan")


def right_rate(rows: Sequence[Row]) -> float:
    """Share of seeds whose gradient is within `RIGHT` of the exact one; NaN if there are none."""
    errors = pooled(rows, lambda row: row.error)
    return float((errors <= RIGHT).mean()) if len(errors) else float("nan")


def median_error(rows: Sequence[Row]) -> float:
    """Median relative error over seeds, infinite ones counted; NaN if there are none."""
    return median(pooled(rows, lambda row: row.error))


def median(values: Floats) -> float:
    """The median, where infinities count and NaN counts as infinite; NaN of nothing."""
    if not len(values):
        return float("nan")
    # Not np.median: it takes the mean of two infinities through NaN.
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def by_case(rows: Sequence[Row], flags: Callable[[Row], Any]) -> Floats:
    """Share of seeds with a flag in each case, in an order that is the same for every method."""
    ordered = sorted(rows, key=lambda row: str(point(row.case)))
    return np.array([np.mean(flags(row)) for row in ordered], dtype=np.float64)


def differ(one: Floats, other: Floats) -> bool:
    """Whether two methods' shares by case differ: on average by twice its standard error.

    The case is the unit: its seeds succeed and fail together.
    """
    difference = one - other
    mean = abs(float(difference.mean()))
    if len(difference) < 2:
        return False
    return mean > 2 * float(difference.std(ddof=1)) / math.sqrt(len(difference))


def seed_count(rows: Iterable[Row]) -> int:
    """How many seeds the rows hold together."""
    return sum(row.case.seeds for row in rows)


def usual(rows: Iterable[Row], iterations: int) -> list[Row]:
    """Those at the suite's K, and from its first random starts, of methods that have them."""
    return [
        row
        for row in rows
        if row.case.iterations in (None, iterations) and row.case.parameters.get("seed", 0) == 0
    ]


def comparable(rows: Sequence[Row], iterations: int) -> list[Row]:
    """Rows on which methods can be compared: the suite's K and starts, the same points for all.

    A method that was measured at fewer than nine in ten of the points, as a reference is, does
    not narrow the comparison: it is left out.
    """
    kept = usual(rows, iterations)
    points: dict[str, set[Any]] = {}
    for row in kept:
        points.setdefault(row.case.method, set()).add(point(row.case))
    most = max((len(own) for own in points.values()), default=0)
    full = {method: own for method, own in points.items() if len(own) >= 0.9 * most}
    shared = set.intersection(*full.values()) if full else set()
    return [row for row in kept if row.case.method in full and point(row.case) in shared]


def comparable_by_loss(rows: Sequence[Row], iterations: int) -> list[Row]:
    """The same for each loss by itself: a method that cannot take some losses is not left out."""
    losses = values_of(rows, "loss")
    return [row for loss in losses for row in comparable(where(rows, loss=loss), iterations)]


def point(case: StabilityCase) -> tuple[Any, ...]:
    """What is asked of a method: the case without the method."""
    return (
        case.d, case.spectrum, case.gap, case.scale, case.dtype, case.epsilon, case.loss, case.seed,
    )  # fmt: skip
