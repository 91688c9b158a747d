"""What must not change a gradient, and by how much it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eigbench.report.field.measured import Measured, array, of_method
from eigbench.report.markdown import NOTHING, axis_value, scientific, table
from eigbench.report.rows import Row, median_error, values_of, where
from eigbench.runs.record import Record

CHANGES = {
    "neighbours": "neighbour_change",
    "a repeated call": "repeat_change",
    "float32 for float64": "precision_change",
    "2 threads for 1": "thread_change",
}


def sections(measured: Measured) -> list[str]:
    """A table of relative changes, and one of the scale of M."""
    return [*_changes(measured), *_scale(measured)]


def scale_rows(rows: Sequence[Row], loss: str = "whitening") -> list[Row]:
    """One loss at several scales, without ε, all else equal."""
    chosen = where(rows, loss=loss, spectrum="gap", epsilon=0.0, dtype="float32")
    sizes = {row.case.d for row in chosen if row.case.scale != 1}
    chosen = [row for row in chosen if row.case.d in sizes]
    return chosen if len(values_of(chosen, "scale")) > 2 else []


def _changes(measured: Measured) -> list[str]:
    records = measured.invariances
    if not records:
        return []
    case = records[0].case
    body = [
        [method, *(_largest(of_method(records, method), metric) for metric in CHANGES.values())]
        for method in measured.methods
        if of_method(records, method)
    ]
    return [
        "## What must not change a gradient",
        "Largest relative change over all seeds "
        f"({getattr(case, 'loss', '')}, d = {getattr(case, 'd', '')}, relative gap "
        f"{axis_value(getattr(case, 'gap', None))}, {getattr(case, 'dtype', '')}): by *neighbours* "
        "in the batch, which are the same matrix times 1000 and over 1000; by computing in "
        "float32 instead of float64 on one and the same rounded matrix; by another number of "
        "threads. *not finite*: there was no gradient to compare.",
        table(["method", *CHANGES], body),
    ]


def _largest(records: Sequence[Record], metric: str) -> str:
    values = [array(record, metric) for record in records]
    found = np.concatenate(values) if values else np.array([])
    if not len(found):
        return NOTHING
    return scientific(float(np.where(np.isnan(found), np.inf, found).max()))


def _scale(measured: Measured) -> list[str]:
    rows = scale_rows(measured.rows)
    if not rows:
        return []
    scales = sorted(values_of(rows, "scale"))
    error: Callable[[Sequence[Row]], str] = lambda some: (  # noqa: E731
        scientific(median_error(some)) if some else NOTHING
    )
    body = [
        [method, *(error(where(rows, method=method, scale=scale)) for scale in scales)]
        for method in values_of(rows, "method")
    ]
    case = rows[0].case
    return [
        "## The scale of M",
        "The same matrices times a factor: a rule without a hidden absolute constant is as right "
        f"at every scale (median error; whitening without ε, d = {case.d}, relative gap "
        f"{axis_value(case.gap)}, {case.dtype}).",
        table(["method \\ factor", *map(axis_value, scales)], body),
    ]
