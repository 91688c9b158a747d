"""Which differences between cells the trials show, and which they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eigbench.report.markdown import NOTHING, scientific, table
from eigbench.report.training import writing
from eigbench.report.training.cells import Cell, baseline
from eigbench.report.training.inference import SIGNIFICANT, Difference, holm, welch
from eigbench.report.training.naming import AXES, name, place, varied

REFERENCE = "hybrid"
"""The paper's method, with which the others are compared."""

PAPERS_CHOICE = {"d": 4, "components": 16, "energy": 0.99, "iterations": 19}
"""With which other values of the axis the hybrid is compared: the least d, the paper's best."""


@dataclass(frozen=True)
class Comparison:
    """Two cells, and the difference of their test errors, if it can be tested."""

    cell: Cell
    other: Cell
    difference: Difference | None
    adjusted: float = 1.0
    """The p-value after Holm's correction for all comparisons of the report."""

    @property
    def shown(self) -> bool:
        """Whether the trials show a difference."""
        return self.difference is not None and self.adjusted < SIGNIFICANT

    @property
    def answer(self) -> str:
        """What the trials show, in words."""
        if self.difference is None:
            return "not tested"
        if not self.shown:
            return "no difference shown"
        return "higher" if self.difference.value > 0 else "lower"


def comparisons(cells: Sequence[Cell]) -> list[Comparison]:
    """Each cell against the hybrid at the same place, against BN, and along a swept axis."""
    pairs = [(cell, other) for cell in cells for other in _others(cells, cell)]
    pairs = [(cell, other) for cell, other in pairs if cell.finished and other.finished]
    plain = [Comparison(cell, other, welch(cell.errors, other.errors)) for cell, other in pairs]
    tested = [c.difference.p for c in plain if c.difference is not None]
    adjusted = iter(holm(tested))
    return [c if c.difference is None else replace(c, adjusted=next(adjusted)) for c in plain]


def counterpart(cells: Sequence[Cell], cell: Cell) -> Cell | None:
    """The paper's method at the same place, with the same K or else the paper's; None if absent."""
    if cell.case.method == REFERENCE:
        return None
    there = [
        other
        for other in cells
        if other.case.method == REFERENCE
        and place(other.case) == place(cell.case)
        and cell.case.iterations in {None, other.case.iterations}
    ]
    usual = PAPERS_CHOICE["iterations"]
    return min(there, key=lambda other: other.case.iterations != usual, default=None)


def _others(cells: Sequence[Cell], cell: Cell) -> list[Cell]:
    if not cell.decomposes:
        return []
    along = [other for other in cells if cell.case.method == REFERENCE and _is_choice(cell, other)]
    others = [counterpart(cells, cell), *along, baseline(cells, cell)]
    return [other for other in others if other is not None]


def _is_choice(cell: Cell, other: Cell) -> bool:
    """Whether the cells differ in one swept axis alone, and `other` is the paper's choice in it."""
    apart = [axis for axis in AXES if getattr(cell.case, axis) != getattr(other.case, axis)]
    return len(apart) == 1 and PAPERS_CHOICE.get(apart[0]) == getattr(other.case, apart[0])


def sections(cells: Sequence[Cell], found: Sequence[Comparison]) -> list[str]:
    """Every comparison with its interval and its answer."""
    if not found:
        return []
    axes = varied(cells)
    body = [[name(c.cell.case, axes), name(c.other.case, axes), *_numbers(c)] for c in found]
    headers = ["cell", "against", "trials", "difference", "95 % interval", "p", "p, Holm", "answer"]
    tested = sum(c.difference is not None for c in found)
    return [
        "## Which differences in test error are shown",
        "Difference of mean test errors in percentage points, with the interval of Welch's t test; "
        f"p after Holm's correction for {tested} tests must be below {SIGNIFICANT:.2g}. Cells "
        "with one finished trial, or without spread, are not tested. Few trials show only large "
        "differences: \"no difference shown\" is not \"the same\".",
        table(headers, body),
    ]  # fmt: skip


def _numbers(c: Comparison) -> list[str]:
    trials = f"{len(c.cell.finished)}, {len(c.other.finished)}"
    apart = float(c.cell.errors.mean()) - float(c.other.errors.mean())
    if c.difference is None:
        return [trials, _points(apart), NOTHING, NOTHING, NOTHING, c.answer]
    ends = f"{_points(c.difference.low)} to {_points(c.difference.high)}"
    p_values = (scientific(c.difference.p), scientific(c.adjusted))
    return [trials, _points(apart), ends, *p_values, c.answer]


def _points(share: float) -> str:
    """A difference in percentage points, with its sign."""
    text = writing.error(abs(share))
    return text if not math.isfinite(share) else f"{'−' if share < 0 else '+'}{text}"
