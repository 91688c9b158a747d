"""What varies between cases, in words: how rows, columns, lines and panels are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from eigbench.report.frame import values_of
from eigbench.report.numbers import axis_value, percentage

LABELS = {
    "contestant": "method",
    "d": "matrix size d",
    "gap": "relative eigengap",
    "dtype": "precision",
    "epsilon": "ε",
    "iterations": "K",
    "spectrum": "spectrum",
    "loss": "loss",
    "scale": "scale of M",
    "components": "e, eigenvectors kept",
    "energy": "share of the variance kept",
    "batch": "batch",
}
"""What a column of an axis is called; its own name where it is not here."""

_WORDS: dict[str, Callable[[Any], str]] = {
    "d": lambda d: f"d = {d}",
    "gap": lambda gap: f"gap {axis_value(gap)}",
    "components": lambda e: f"e = {e}",
    "energy": lambda share: f"{percentage(share)} kept",
    "iterations": lambda K: f"K = {K}",
    "epsilon": lambda epsilon: f"ε = {axis_value(epsilon)}",
    "scale": lambda factor: f"scale {axis_value(factor)}",
    "truncation": lambda rule: "no truncation" if rule == "none" else f"truncation {rule}",
    "batch": lambda batch: f"batch {batch}",
}
_BARE = ("method", "model", "layer", "data", "spectrum", "loss", "dtype", "contestant", "subject")


def label(axis: str) -> str:
    """What the values of an axis are."""
    return LABELS.get(axis, axis)


def word(axis: str, value: Any) -> str:
    """One value of an axis as it is written in a sentence, such as "d = 4"."""
    if value is None:
        return ""
    if axis in _WORDS:
        return _WORDS[axis](value)
    return axis_value(value) if axis in _BARE else f"{axis} {axis_value(value)}"


def words(row: dict[str, Any], axes: Sequence[str]) -> str:
    """A row's values of these axes, such as "cluster, d = 16, gap 0.01"; those it has."""
    return ", ".join(word(axis, row[axis]) for axis in axes if row.get(axis) is not None)


def listed(axis: str, values: Sequence[Any]) -> str:
    """Several values of an axis, such as "d = 4, 16"."""
    if not values:
        return ""
    first = word(axis, values[0])
    bare = axis_value(values[0])
    prefix = first[: -len(bare)] if first.endswith(bare) else ""
    return ", ".join([first, *(word(axis, value).removeprefix(prefix) for value in values[1:])])


def varied(frame: pl.DataFrame, axes: Sequence[str]) -> list[str]:
    """Those of the axes in which the rows of a frame differ; a null is a value too."""
    present = [axis for axis in axes if axis in frame.columns]
    return [axis for axis in present if frame[axis].n_unique() > 1]


def setting(frame: pl.DataFrame, axes: Sequence[str]) -> str:
    """What the rows have in common or range over, such as "whitening; float32; d = 4, 8, 16"."""
    return "; ".join(listed(axis, values) for axis in axes if (values := values_of(frame, axis)))
