"""What varies between cases, in words: how rows, columns, lines and panels are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eigbench.axes import AXES, SETTINGS
from eigbench.report.frame import values_of
from eigbench.report.numbers import axis_value

KNOWN = {**SETTINGS, **AXES}
_OTHERS = {"contestant": "method", "situation": "situation", "matrices": "matrices"}
"""What columns hold that are no axes of a grid."""


def label(axis: str) -> str:
    """What the values of an axis are, for the heading of a table."""
    return KNOWN[axis].label if axis in KNOWN else _OTHERS.get(axis, axis)


def word(axis: str, value: Any) -> str:
    """One value of an axis as it is written in a sentence, such as "d = 4"."""
    if value is None:
        return ""
    if axis in KNOWN and not (isinstance(value, str) and KNOWN[axis].metavar != "NAME"):
        return KNOWN[axis].write(value)
    return axis_value(value) if axis in _OTHERS else f"{axis} {axis_value(value)}"


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
