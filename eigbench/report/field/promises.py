"""What each method promises, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eigbench.report.field.invariances import scale_rows
from eigbench.report.field.measured import Measured, finite_gradients, largest, of_method
from eigbench.report.field.paths import jump
from eigbench.report.field.repeated import repeated_rows
from eigbench.report.markdown import NOTHING, percent, scientific, table
from eigbench.report.rows import RIGHT, Row, median_error, pooled, values_of, where

DEFINITE = ("whitening", "square-root")
"""The losses that need a positive definite M."""
OPEN_GAP = 0.1
EXACT = 1e-6
"""Up to this error a gradient counts as exact in float64 at open gaps."""
JUMP = 0.01


@dataclass(frozen=True)
class Criterion:
    """One promise: what number tells whether it is kept, and up to where it is."""

    promise: str
    title: str
    says: str
    measure: Callable[[Measured, str], float]
    limit: float
    words: Callable[[float], str] = scientific


def _exact(measured: Measured, method: str) -> float:
    rows = [
        row
        for row in where(measured.rows, method=method, dtype="float64", spectrum="gap")
        if (row.case.gap or 0) >= OPEN_GAP and row.case.scale == 1 and row.case.epsilon > 0
    ]
    return largest(rows, lambda row: row.error)


def _functions(measured: Measured, method: str) -> float:
    rows = where(measured.rows, method=method, loss="whitening", scale=1.0)
    tied = [row for row in rows if row.case.gap == 0 or row.case.spectrum == "identity"]
    return largest([row for row in tied if row.case.epsilon > 0], lambda row: row.error)


def _not_finite(measured: Measured, method: str) -> float:
    """Where f is defined for M beyond rounding: else there is nothing to differentiate.

    A case that failed as a whole has no finite gradient.
    """
    rows = where(measured.rows, method=method)
    defined = pooled(rows, _defined) > 0
    finite = pooled(rows, finite_gradients)
    return 1 - float(finite[defined].mean()) if defined.any() else float("nan")


def _defined(row: Row) -> NDArray[np.bool_]:
    """By seed: M, in its precision, is not singular but for rounding; any M will do for others.

    Said of the matrix, and not of what a method makes of it.
    """
    if row.case.loss not in DEFINITE or not len(row.metric("condition_number")):
        return np.ones(row.case.seeds, dtype=bool)
    smallest = row.case.d * np.finfo(row.case.dtype).eps
    defined: NDArray[np.bool_] = row.metric("condition_number") < 1 / smallest
    return defined


def _scale(measured: Measured, method: str) -> float:
    """Over the losses for which the method is right at scale 1; over all, if it is for none."""
    variations = {}
    for loss in values_of(measured.rows, "loss"):
        rows = where(scale_rows(measured.rows, loss), method=method)
        errors = {scale: median_error(where(rows, scale=scale)) for scale in _scales(rows)}
        if errors:
            variations[loss] = (errors[1.0], max(errors.values()) - min(errors.values()))
    right = [spread for error, spread in variations.values() if error <= RIGHT]
    spreads = right or [spread for _, spread in variations.values()]
    return max(spreads, default=float("nan"))


def _scales(rows: list[Row]) -> list[float]:
    scales = values_of(rows, "scale")
    return scales if 1.0 in scales else []


def _jump(measured: Measured, method: str) -> float:
    own = [
        r for r in of_method(measured.paths, method) if getattr(r.case, "dtype", "") == "float64"
    ]
    return max(map(jump, own), default=float("nan"))


def _isolated(measured: Measured, method: str) -> float:
    rows = where(repeated_rows(measured.rows, "eigenvector"), method=method)
    return largest(rows, lambda row: row.error)


def _subspace(measured: Measured, method: str) -> float:
    rows = where(repeated_rows(measured.rows, "subspace"), method=method)
    return largest(rows, lambda row: row.error)


CRITERIA = (
    Criterion("exact", "exact at open gaps", "largest error at relative gaps from 0.1 on, float64",
              _exact, EXACT),
    Criterion("functions", "exact for functions", "largest error of whitening at exact ties",
              _functions, RIGHT),
    Criterion("finite", "always finite", "share of gradients that are not finite, where M is "
              "definite beyond rounding or need not be", _not_finite, 0.0, percent),
    Criterion("scale", "no hidden constant", "how far the median error varies over factors on M",
              _scale, RIGHT),
    Criterion("continuous", "no jump at a crossing", "largest move within 1e-5 of a crossing, "
              "float64", _jump, JUMP),
    Criterion("isolated", "separated vector", "largest error of a separated eigenvector while "
              "others repeat", _isolated, RIGHT),
    Criterion("subspace", "separated subspace", "the same of a subspace", _subspace, RIGHT),
)  # fmt: skip


def sections(measured: Measured) -> list[str]:
    """The table; nothing for a run that remembers no promises."""
    if not any(measured.promised(method) for method in measured.methods):
        return []
    body = [
        [method, *(cell(measured, method, criterion) for criterion in CRITERIA)]
        for method in measured.methods
    ]
    meanings = "; ".join(f"*{c.title}*: {c.says}, kept up to {c.words(c.limit)}" for c in CRITERIA)
    return [
        "## What each promises, and what was measured",
        "**kept** and **broken** are what the source of a method, or its form, lets one expect, "
        "held to the number beside it; a number in brackets was measured, and nothing "
        f"promised. {meanings}. “–”: the method cannot take it, or it was not measured.",
        table(["method", *(criterion.title for criterion in CRITERIA)], body),
    ]


def cell(measured: Measured, method: str, criterion: Criterion) -> str:
    """Kept or broken, with the number; the number in brackets where nothing is promised."""
    number = criterion.measure(measured, method)
    promised = criterion.promise in measured.promised(method)
    if math.isnan(number):  # not measured
        return f"promised {NOTHING}" if promised else NOTHING
    words = criterion.words(number)
    if not promised:
        return f"({words})"
    return f"kept, {words}" if number <= criterion.limit else f"**broken**, {words}"
