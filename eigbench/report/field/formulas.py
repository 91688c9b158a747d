"""Each rule against its own formula in 60 digits, beside the exact gradient."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.field.measured import Measured, largest
from eigbench.report.markdown import axis_value, scientific, table
from eigbench.report.rows import Row, values_of, where


def sections(measured: Measured) -> list[str]:
    """Both errors by method and gap: what the arithmetic loses, and what the rule is worth."""
    rows = [row for row in measured.rows if len(row.metric("formula_error"))]
    rows = [row for row in rows if row.case.d > 2]
    if not rows:
        return []
    tables = [
        part
        for loss in values_of(rows, "loss")
        for dtype in values_of(rows, "dtype")
        for part in _table(where(rows, loss=loss, dtype=dtype))
    ]
    return [
        "## Each rule against its own formula",
        "Every cell holds two errors of the same gradient, the largest of all seeds: against the "
        "method's *own formula*, evaluated in 60 digits by other code, which is what its "
        "arithmetic loses; and against the *exact* gradient, which is what the rule is worth. A "
        "small first and a large second error is a faithful program of an inexact rule.",
        *tables,
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    gaps = values_of(rows, "gap")
    if not rows or not gaps:
        return []
    case = rows[0].case
    body = [
        [method, *(_both(where(rows, method=method, gap=gap)) for gap in gaps)]
        for method in values_of(rows, "method")
    ]
    headers = ["own formula / exact \\ gap", *map(axis_value, gaps)]
    return [f"**{case.loss}**, {case.dtype}, d = {case.d}:", table(headers, body)]


def _both(rows: Sequence[Row]) -> str:
    own, exact = (largest(rows, metric) for metric in ("formula_error", "gradient_error"))
    return f"{scientific(own)} / {scientific(exact)}" if rows else "–"
