"""Two paths, or two tests of invariance: where there is a gradient, and how far it is off."""

from __future__ import annotations

import math

import numpy as np

from eigbench.report.compare.effects import (
    GRADIENT_ERROR,
    SUCCESS,
    Draft,
    Quantity,
    amount,
    exact,
)
from eigbench.report.rows import Floats, median
from eigbench.runs.record import Record

LEAST = GRADIENT_ERROR.least


def _error(name: str) -> Quantity:
    return Quantity(name, "less accurate", "more accurate", least=LEAST)


TYPICAL = {"gradient_error": GRADIENT_ERROR}
"""Metrics whose median is judged: one value a position of the path."""

LARGEST = {
    "gradient_error": _error("largest gradient error"),
    "neighbour_change": _error("neighbour change"),
    "precision_change": _error("precision change"),
    # How threads share a sum is the machine's affair too: more of it is not called worse.
    "repeat_change": amount("repeat change", LEAST),
    "thread_change": amount("thread change", LEAST),
}
"""Metrics whose largest value is judged: what must not be large anywhere, for any seed."""


def drafts(a: Record, b: Record, *, repeats: bool) -> list[Draft]:
    """The effects of a case that both runs measured, on the same matrices.

    The positions of one path are not independent, and few seeds ask for invariance, so that there
    is no test: a number that differs is judged if the runs round alike, which is `repeats`.
    """
    shared = [name for name in LARGEST if a.values(name) and b.values(name)]
    values = {name: _both(a, b, name) for name in shared}
    if not values or any(len(one) != len(other) for one, other in values.values()):
        return [Draft(SUCCESS, math.nan, math.nan, note="a record lacks values")]
    finite = [
        float(np.mean([np.isfinite(pair[side]) for pair in values.values()])) for side in (0, 1)
    ]
    same = all(
        np.array_equal(np.isfinite(one), np.isfinite(other)) for one, other in values.values()
    )
    return [
        _judged(SUCCESS, *finite, same=same, repeats=repeats),
        *(draft for name in shared for draft in _errors(name, *values[name], repeats=repeats)),
    ]


def _both(a: Record, b: Record, name: str) -> tuple[Floats, Floats]:
    return np.array(a.values(name), dtype=float), np.array(b.values(name), dtype=float)


def _errors(name: str, a: Floats, b: Floats, *, repeats: bool) -> list[Draft]:
    """Of the values that are finite in both; the others are a matter of success."""
    both = np.isfinite(a) & np.isfinite(b)
    if not both.any():
        return []
    a, b = a[both], b[both]
    same = np.array_equal(a, b)
    found = [_judged(LARGEST[name], float(a.max()), float(b.max()), same=same, repeats=repeats)]
    if name in TYPICAL:
        found.insert(0, _judged(TYPICAL[name], median(a), median(b), same=same, repeats=repeats))
    return found


def _judged(quantity: Quantity, a: float, b: float, *, same: bool, repeats: bool) -> Draft:
    """`same`: whether all values behind the two numbers are; else equal numbers say little."""
    if same or (repeats and a != b):
        return exact(quantity, a, b)
    return Draft(quantity, a, b, given="no difference shown" if repeats else None)
