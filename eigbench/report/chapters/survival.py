"""What the failures of short trials mean for the paper's: its success rates, row by row.

A trial of the paper has 136,850 steps. If the failures a step that were seen here kept their rate,
a known share of such trials would live. The interval of that share decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from eigbench.kinds.train import BEFORE_A_FAILURE
from eigbench.report import paper, stats
from eigbench.report.chapters.paper_tables import key_of, placed, tables
from eigbench.report.frame import Frames
from eigbench.report.names import listed, word
from eigbench.report.numbers import NOTHING, count, counted, percent, rate, scientific
from eigbench.report.render import Chapter, render, table
from eigbench.report.stats import Interval

LEAST_FAILURES = 2
"""One failure may be that of a single random seed: nothing is concluded from it alone."""

VERDICTS = ("reproduced", "not reproduced", "open")

WAY = {"smallest_relative_gap": "smallest gap", "rank_kept": "rank kept",
       "condition_number": "condition number"}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A cell that started trials, beside the success rate that the paper prints of it."""

    cell: dict[str, Any]
    """How its trials add up."""
    row: str
    column: tuple[str, Any] | None
    """The axis of the table's columns, and the cell's value."""
    success: float
    """As the paper prints it, in %."""
    trials: int
    """So many the paper ran."""

    @property
    def hazard(self) -> Interval:
        """Failures a step."""
        return stats.hazard(self.cell["diverged"], self.cell["total_steps"])

    @property
    def lives(self) -> Interval:
        """The share of trials that would outlast the paper's steps at this hazard."""
        return stats.outlasting(self.hazard, paper.STEPS)

    @property
    def printed(self) -> Interval:
        """The paper's rate, which is one of few trials too."""
        return stats.share(round(self.success / 100 * self.trials), self.trials)

    @cached_property
    def verdict(self) -> str:
        """Reproduced if the interval lies within the paper's; not reproduced if it lies beside."""
        if 0 < self.cell["diverged"] < LEAST_FAILURES:
            return "open"
        ours, papers = self.lives, self.printed
        if papers.low <= ours.low and ours.high <= papers.high:
            return "reproduced"
        beside = ours.high < papers.low or papers.high < ours.low
        return "not reproduced" if beside else "open"


def judged(compare: str, cells: pl.DataFrame) -> list[Judged]:
    """The cells of which the paper prints a success rate: `placed`, and those without truncation.

    The truncation of its baselines is not printed.
    """
    found = []
    for shape in tables(compare):
        without = {key_of(shape, cell): cell for cell in cells.filter(truncation="none").to_dicts()}
        for some in (placed(shape, cells), without):
            for key, cell in some.items():
                success = shape.at(*key).success if key else None
                if key and success is not None and cell["started"]:
                    column = (shape.columns, key[1]) if shape.columns else None
                    found.append(Judged(cell, key[0], column, success, shape.trials))
    return found


def by_verdict(some: Sequence[Judged]) -> dict[str, list[str]]:
    """The cells of each verdict in words; those of a method and a truncation together."""
    found: dict[str, list[str]] = {}
    for verdict in VERDICTS:
        places: dict[tuple[str, str | None], list[Judged]] = {}
        for one in some:
            if one.verdict == verdict:
                places.setdefault((one.row, one.cell["truncation"]), []).append(one)
        found[verdict] = [_place(own) for own in places.values()]
    return found


def _place(some: Sequence[Judged]) -> str:
    """Cells of one row and truncation, such as "pi (d = 4, 16; no truncation)"."""
    first = some[0]
    bare = first.cell["truncation"] == "none"
    values = sorted(one.column[1] for one in some if one.column)
    where = [
        *([listed(first.column[0], values)] if first.column else []),
        *([word("truncation", "none")] if bare else []),
    ]
    return f"{first.row} ({'; '.join(where)})" if where else first.row


def chapter(some: Sequence[Judged]) -> Chapter | None:
    """A row for each cell of which the paper prints a success rate; None if there is none."""
    if not some:
        return None
    body = [
        [_place([one]), counted(one.cell["finished"], one.cell["started"]),
         count(one.cell["total_steps"]), rate(one.hazard), _share(one.lives),
         counted(round(one.printed.value * one.trials), one.trials), one.verdict]
        for one in some
    ]  # fmt: skip
    heads = ["cell", "finished (95 %)", "steps", "failures a step (95 %)", "would succeed",
             "the paper's (95 %)", "verdict"]  # fmt: skip
    text = render("training-survival", table=table(heads, body), steps=paper.STEPS,
                  least=LEAST_FAILURES)  # fmt: skip
    return Chapter("The paper's success rates, row by row", text)


def _share(one: Interval) -> str:
    if math.isnan(one.value):
        return NOTHING
    ends = f"{percent(one.low)} to {percent(one.high)}"
    # Where nothing failed the value, 100 %, is what was assumed.
    return ends if one.value == 1 else f"{percent(one.value)} ({ends})"


def way(frames: Frames, every: pl.DataFrame) -> str:
    """Gap, rank and condition number before failures, at them, and where trials finished."""
    lost = every.filter(pl.col("outcome") == "diverged", "decomposes")
    ends = every.filter(pl.col("cell").is_in(lost["cell"].to_list())).select(
        "id", "cell", "outcome", "begun"
    )
    left = pl.col("begun") - 1 - pl.col("row")
    steps = frames.steps.join(ends, on="id", maintain_order="right").with_columns(left=left)
    rows = []
    for (cell,), own in steps.group_by("cell", maintain_order=True):
        broke, kept = (own.filter(outcome=outcome) for outcome in ("diverged", "finished"))
        before = broke.filter(pl.col("left").is_between(1, BEFORE_A_FAILURE - 1))
        rows.append([
            str(cell), str(broke["id"].n_unique()),
            *("; ".join(scientific(stats.middle(part[name].drop_nulls()))
                        for part in (before, broke.filter(left=0), kept)) for name in WAY),
        ])  # fmt: skip
    return table(["cell", "lost", *WAY.values()], rows) if rows else ""
