"""Which differences between cells the trials show, and which they do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from eigbench.report.markdown import NOTHING, scientific, table
from eigbench.report.training import writing
from eigbench.report.training.cells import Cell, baseline
from eigbench.report.training.inference import SIGNIFICANT, Difference, fisher, holm, welch
from eigbench.report.training.naming import SWEPT, WITHOUT, name, place, varied

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


def _others(cells: Sequence[Cell], cell: Cell) -> list[Cell]:
    if cell.case.layer in WITHOUT:
        return []
    same_place = [
        other
        for other in cells
        if other.case.method == REFERENCE != cell.case.method
        and place(other.case) == place(cell.case)
        and cell.case.iterations in {None, other.case.iterations}
    ]
    along = [
        other
        for other in cells
        if cell.case.method == REFERENCE and _is_choice(cell, other)
    ]  # fmt: skip
    standard = baseline(cells, cell)
    return [*same_place[:1], *along, *([standard] if standard else [])]


def _is_choice(cell: Cell, other: Cell) -> bool:
    """Whether the cells differ in one swept axis alone, and `other` is the paper's choice in it."""
    axes = (*SWEPT, "method", "layer", "model", "epsilon", "truncation")
    apart = [axis for axis in axes if getattr(cell.case, axis) != getattr(other.case, axis)]
    return len(apart) == 1 and PAPERS_CHOICE.get(apart[0]) == getattr(other.case, apart[0])


def survival(cells: Sequence[Cell], method: str, other: str) -> float:
    """Fisher's p-value of two methods' success rates, over the places that both were asked.

    1 if there is no such place.
    """
    places = {
        asked: {place(cell.case) for cell in cells if cell.case.method == asked and cell.trials}
        for asked in (method, other)
    }
    shared = places[method] & places[other]
    if not shared:
        return 1.0
    own, theirs = (
        _sum(c.success for c in cells if c.case.method == asked and place(c.case) in shared)
        for asked in (method, other)
    )
    return fisher(own, theirs)


def _sum(successes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    finished, trials = zip(*successes, strict=True)
    return sum(finished), sum(trials)


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
