"""Which networks err less on the test images, by how much, and what that leaves open.

A random seed gives every cell the same initial weights and the same order of the data, so that
trials are paired by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import numbers, stats
from eigbench.report.chapters.trials import PLACE, REFERENCE, SHARED
from eigbench.report.numbers import scientific
from eigbench.report.render import Chapter, render, table
from eigbench.report.stats import Decision

TESTABLE = 3
"""Test errors of fewer pairs of trials are not compared."""

BESIDE_BN, BESIDE_REFERENCE = "batch normalisation", f"`{REFERENCE}`"
SWEPT = {
    "d": "the smallest groups",
    "components": "the fewest eigenvectors",
    "energy": "the least variance kept",
    "iterations": "the least K",
}
"""What is compared along an axis: the cells beside the one with its least value."""


@dataclass(frozen=True)
class Difference:
    """The test errors of a cell less those of another, seed by seed."""

    beside: str
    cell: str
    other: str
    trials: int
    decision: Decision

    @property
    def told(self) -> str:
        """The mean in percentage points, with its 95 % interval."""
        return numbers.difference(self.decision.found, 100)

    @property
    def reach(self) -> float:
        """How large a difference of either sign the interval leaves open, in percentage points."""
        found = self.decision.found
        return 100 * max(abs(found.low), abs(found.high)) if found else math.nan


def compared(trials: pl.DataFrame) -> list[Difference]:
    """Test errors of cells beside batch normalisation, the reference, and less of what is swept.

    What Student's t test of the paired differences shows, corrected for all of them together. Cells
    with a network at chance are left out, and so are pairs of fewer than `TESTABLE` trials.
    """
    sound = trials.filter(pl.col("outcome") == "finished", pl.col("test_error").is_not_null())
    sound = sound.filter(~pl.col("at_chance").fill_null(value=False).any().over("cell"))
    own = sound.filter("decomposes")
    bounded = own.filter(contestant=REFERENCE)
    unbounded = own.filter(pl.col("contestant") != REFERENCE)
    beside = {
        BESIDE_BN: _pairs(own, sound.filter(layer="bn"), ["model", *SHARED]),
        BESIDE_REFERENCE: _pairs(unbounded, bounded, ["condition"]),
        **{least: _swept(own, axis) for axis, least in SWEPT.items()},
    }
    found = [
        (name, cell, other, np.array(differences))
        for name, pairs in beside.items()
        for cell, other, differences in pairs.group_by("cell", "cell_right", maintain_order=True)
        .agg(pl.col("difference"))
        .rows()
        if len(differences) >= TESTABLE
    ]
    decisions = stats.decide([stats.paired(differences) for *_, differences in found])
    return [
        Difference(name, cell, other, len(differences), decision)
        for (name, cell, other, differences), decision in zip(found, decisions, strict=True)
    ]


def _swept(own: pl.DataFrame, axis: str) -> pl.DataFrame:
    """Trials beside those that differ from them in this axis alone, and have its least value."""
    method = "method" if axis == "iterations" else "contestant"
    alike = [method, *(other for other in (*PLACE, *SHARED) if other != axis)]
    least = own.filter(pl.col(axis) == pl.col(axis).min().over(alike))
    return _pairs(own, least, alike).filter(pl.col(axis) > pl.col(f"{axis}_right"))


def _pairs(some: pl.DataFrame, others: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Trials of a random seed that agree in the columns `on`, and how their errors differ."""
    both = some.join(others, on=[*on, "seed"], nulls_equal=True, maintain_order="left")
    return both.with_columns(
        difference=(pl.col("test_error") - pl.col("test_error_right")).round(9)  # equal ones are
    )


def chapter(found: Sequence[Difference]) -> Chapter | None:
    """A row for each comparison; None if there is none."""
    if not found:
        return None
    rows = [
        [one.cell, one.other, str(one.trials), one.told, one.decision.answer,
         scientific(one.decision.adjusted)]
        for one in found
    ]  # fmt: skip
    heads = ["cell", "less", "seeds", "difference, points (95 %)", "answer", "p, corrected"]
    return Chapter("Test errors, compared", render("training-errors", table=table(heads, rows)))


def summaries(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """What is shown beside each of them, and what is left open; for the opening."""
    every = []
    for beside in dict.fromkeys(one.beside for one in found):
        own = [one for one in found if one.beside == beside]
        open_ones = [one for one in own if not one.decision.shown]
        every.append({
            "beside": beside,
            "cells": len(own),
            "trials": min(one.trials for one in own),
            "shown": [one for one in own if one.decision.shown],
            "open": len(open_ones),
            "reach": max((one.reach for one in open_ones), default=math.nan),
        })  # fmt: skip
    return every
