"""What varies between cases, in words: how rows, columns, lines and panels are called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import polars as pl

from eigbench.axes import AXES, SETTINGS
from eigbench.kinds import KINDS, Case
from eigbench.report.frame import values_of
from eigbench.report.numbers import axis_value

KNOWN = {**SETTINGS, **AXES}
_OTHERS = {"contestant": "method", "matrices": "matrices"}
"""What columns hold that are no axes of a grid."""
_UNNAMED = {"kind", "method", "parameters", "seed", "seeds", "rounds", "seconds", "trace"}
"""Fields of a case that are no part of its name."""
_USUAL = {"layout": "contiguous"}
"""What is said of cases only where they differ in it."""


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


def of_cases(
    cases: Sequence[Case], without: Collection[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """A name for each case: the method, the axes in which cases of its kind differ, and the kind.

    The kind is left out where all cases are of one. Also, by kind, what its cases have in common.
    Nothing is said of the axes `without`.
    """
    every = pl.DataFrame([_spelled(case) for case in cases], infer_schema_length=None)
    named, shared = [""] * len(cases), {}
    for (kind,), own in every.with_row_index(" ").group_by("kind", maintain_order=True):
        fields = KINDS[str(kind)].case.__struct_fields__
        unsaid = {"kind", "method", *without}
        axes = [axis for axis in every.columns if axis not in unsaid and own[axis].count()]
        axes.sort(key=lambda axis: fields.index(axis) if axis in fields else -1)
        differing = [axis for axis in axes if own[axis].drop_nulls().n_unique() > 1]
        told = ["method", *differing, *(["kind"] if own.height < every.height else [])]
        for row in own.iter_rows(named=True):
            named[row[" "]] = ", ".join(row[axis] for axis in told if row[axis] is not None)
        same = {axis: own[axis].drop_nulls()[0] for axis in axes if axis not in differing}
        shared[str(kind)] = ", ".join(said for axis, said in same.items()
                                      if said != _USUAL.get(axis))  # fmt: skip
    return named, shared


def _spelled(case: Case) -> dict[str, str]:
    """Every axis of a case in words, the method's parameters first."""
    values = msgspec.structs.asdict(case)
    if values.get("layer") == values.get("method"):
        values["layer"] = None  # "bn" and "none" need not be said twice
    parameters = values.get("parameters", {})
    own = {"start" if name == "seed" else name: value for name, value in parameters.items()}
    spelled = {
        axis: word(axis, value)
        for axis, value in {**own, **values}.items()
        if axis not in _UNNAMED and value is not None and (value is not False or axis in KNOWN)
    }
    return {"kind": case.kind, "method": values.get("method", case.kind), **spelled}
