"""A comparison as Markdown that reads as well in a narrow terminal.

The words are in `report/templates/compare.md.j2`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, get_args

from eigbench.compare.model import SHOWN, CaseComparison, Comparison, Effect, Verdict
from eigbench.report import names, numbers, stats
from eigbench.report.render import escape, render, table

WIDTH = 80
"""Columns of a narrow terminal."""
ROWS = 12
"""The most lines of a list, unless everything is asked for."""
HEADS = ("in B", "change (95 % interval)", "from A to B", "quantity", "case")
_WRITERS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("time", "forward", "backward", "update", "step time"), numbers.duration),
    **dict.fromkeys(("peak bytes", "saved bytes"), numbers.amount),
    "success": numbers.percent,
    "test error": lambda share: f"{numbers.fixed(100 * share, 2)} %",
}


class Line(NamedTuple):
    """A quantity of a case."""

    case: CaseComparison
    effect: Effect

    @property
    def order(self) -> tuple[bool, int, float]:
        """Regressions first, then other worse, better, changed ones; the largest of each first."""
        size = abs(self.effect.change)
        if self.effect.scale == "ratio":
            size = abs(math.log(size)) if size > 0 else math.inf
        return not self.effect.regression, SHOWN.index(self.effect.answer), -size

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of a table under `HEADS`."""
        effect, name = self.effect, self.case.name
        if effect.quantity == "failures":
            return effect.answer, effect.note.partition(";")[0], "", "outcome", name
        a, b = (_value(effect, one) for one in (effect.a, effect.b))
        return effect.answer, _change(effect), f"{a} → {b}", effect.quantity, name


def to_markdown(found: Comparison, *, everything: bool = False) -> str:
    """A table of what changed and a few sentences; `everything`: all that did not change, too."""
    every = [Line(case, effect) for case in found.cases for effect in case.effects]
    changes = sorted(
        (one for one in every if one.effect.answer in SHOWN), key=lambda one: one.order
    )
    rest = [one for one in every if one.effect.answer not in SHOWN]
    outcomes: dict[tuple[str, str], list[str]] = {}
    for case, effect in every:
        if effect.note and effect.answer not in ("equal", "not tested"):
            outcomes.setdefault((effect.answer, escape(effect.note)), []).append(case.name)
    markdown = render(
        "compare",
        found=found,
        changes=_table(changes),
        relative=any(one.effect.relative_to for one in changes),
        # Matrices and trials with another outcome, shown or not: by answer and note the names.
        outcomes=outcomes,
        # How far the intervals of cases without a shown difference in time reach.
        ends=[
            one.effect.high
            for one in rest
            if one.effect.quantity == "time" and one.effect.answer == "no difference shown"
        ],
        undecidable=sum(one.effect.least_p >= stats.SIGNIFICANT for one in every),
        verdicts=Counter(sorted((c.verdict for c in found.cases), key=get_args(Verdict).index)),
        rest=_table(rest) if everything else "",
        most=None if everything else ROWS,
        shared=names.of_cases(
            [case.case for case in found.cases],
            {axis for case in found.cases for axis in case.differs},
        )[1],
        differs=Counter(
            f"{name} {a} | {b}" for case in found.cases for name, (a, b) in case.differs.items()
        ),
        stats=stats,
    )
    return "\n".join(map(_narrow, markdown.splitlines())) + "\n"


def _table(lines: list[Line]) -> str:
    """Without padding in the last column, so that one long name does not widen all rows."""
    rows = [line.cells for line in lines]
    return re.sub(r"(?m)( |:--)[- ]*\|$", r"\1|", table(HEADS, rows)) if rows else ""


def _change(effect: Effect) -> str:
    """How much, with its interval, such as "1.15× (1.10 to 1.20)" or "−12.5 points"."""
    ends = (effect.change, effect.low, effect.high)
    share = effect.quantity in ("success", "test error")
    if effect.scale == "ratio":
        written, unit = [numbers.factor(end) for end in ends], "×"
    elif share:
        written, unit = [numbers.fixed(100 * end, 1, signed=True) for end in ends], " points"
    else:
        written, unit = [numbers.fixed(end, 0, signed=True) for end in ends], ""
    if math.isnan(effect.change):
        return numbers.NOTHING
    return (
        written[0] + unit + ("" if math.isnan(effect.low) else f" ({written[1]} to {written[2]})")
    )


def _value(effect: Effect, value: float) -> str:
    """What the quantity is in one of the runs, in its unit."""
    if not math.isfinite(value) or abs(value) >= 1e15:
        return numbers.scientific(value)
    if effect.relative_to:
        return numbers.factor(value)
    plain = numbers.count if value == int(value) else numbers.scientific
    return _WRITERS.get(effect.quantity, plain)(value)


def _narrow(line: str) -> str:
    """A line of text broken at 80 columns; tables and headings are left alone."""
    if line.startswith(("|", "#")):
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
