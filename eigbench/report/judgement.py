"""How methods are judged: by situation, never pooled; the worst situation decides.

Success is a finite gradient. How right it is, is a distribution, of which the shares within 1, 10
and 100 % and the median are shown; its direction is the cosine to the exact gradient. A method is
recommended for a loss if no class of matrices (one size, spectrum, gap and scale) fails as a whole,
and if in its worst situation nearly all gradients are within 10 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eigbench.report import situations
from eigbench.report.frame import POINT, metric, values_of
from eigbench.report.stats import Decision, Interval, decide, discordant

SOUND = 0.1
"""A gradient that is off by more than this fails; a recommended method is nearly always within."""
NEARLY_ALL = 0.9
"""The share of a situation that must be within `SOUND` for a recommendation."""
ENOUGH = 20
"""Of fewer matrices nothing is recommended."""
CLASS = ("d", "spectrum", "gap", "scale")
"""Matrices that differ in their random seed alone."""


@dataclass(frozen=True)
class Use:
    """A kind of loss that people have, and the loss that stands for it."""

    loss: str
    depends_on: str
    whitening_matrix: bool = False
    """Whether a method may whiten by another matrix than `M^(−1/2)`."""


USES = (
    Use("whitening", "M^(−1/2): ZCA whitening"),
    Use("whitening", "any W with W M Wᵀ = I: whitening", whitening_matrix=True),
    Use("whitening-truncated", "M^(−1/2) of the pairs that Algorithm 1 keeps"),
    Use("square-root", "M^(1/2): second-order pooling"),
    Use("logarithm", "log M: log-Euclidean networks"),
    Use("subspace", "the leading subspace, cut at the widest gap: PCA"),
    Use("eigenvector", "one eigenvector, separated from all others"),
    Use("closing-eigenvector", "one eigenvector of the closest pair"),
)


def judged(frame: pl.DataFrame) -> pl.DataFrame:
    """A row a loss, precision, situation and contestant, in order.

    Columns: `n` matrices; the shares `right`, `sound` (within 10 %), `same_size` (within 100 %) and
    `finite`; `lost_d`, the size of all that are not finite, where it is one of several sizes;
    `each`, whether a gradient is right, matrix by matrix; the median `error`, infinite where half
    are not finite; the median `cosine` of the finite gradients; `failing`, how many of the
    `classes` fail as a whole.
    """
    keys = ["loss", "dtype", "situation", "contestant"]
    inside = frame.filter(pl.col("situation").is_not_null())
    lost_d = pl.col("d").filter(~pl.col("finite"))
    decides = (lost_d.n_unique() == 1) & (pl.col("d").n_unique() > 1)
    shares = inside.group_by(keys, maintain_order=True).agg(
        pl.len().alias("n"),
        pl.col("right").mean(),
        (pl.col("error") <= SOUND).mean().alias("sound"),
        (pl.col("error") <= 1).mean().alias("same_size"),
        pl.col("finite").mean(),
        pl.when(decides).then(lost_d.first()).alias("lost_d"),
        pl.col("right").sort_by(*POINT).alias("each"),
        pl.col("error").median(),
        metric(inside, "gradient_cosine").fill_nan(None).filter(pl.col("finite")).median()
        .alias("cosine"),
    )  # fmt: skip
    classes = (
        inside.group_by(*keys, *CLASS, maintain_order=True)
        .agg((pl.col("error") > SOUND).all().alias("fails"))
        .group_by(keys, maintain_order=True)
        .agg(pl.col("fails").sum().alias("failing"), pl.len().alias("classes"))
    )
    order = pl.Enum(situations.NAMES)
    return shares.join(classes, on=keys, how="left", maintain_order="left").sort(
        "loss", "dtype", pl.col("situation").cast(order), maintain_order=True
    )


def whitens_otherwise(frame: pl.DataFrame) -> set[str]:
    """Contestants that whiten by another matrix than `M^(−1/2)`."""
    if "whitens_by" not in frame.columns:
        return set()
    return set(values_of(frame.filter(pl.col("whitens_by").is_not_null()), "contestant"))


@dataclass(frozen=True)
class Standing:
    """How a contestant does in a loss: in its worst situation, and over all of them."""

    contestant: str
    rows: Sequence[dict[str, Any]]
    """Of `judged`, one a situation."""

    @property
    def worst(self) -> dict[str, Any]:
        """The situation with the least share within 1 %; of equal ones the one least sound."""
        return min(self.rows, key=lambda row: (row["right"], row["sound"]))

    @property
    def sound(self) -> float:
        """The least share within 10 % of any situation."""
        return float(min(row["sound"] for row in self.rows))

    @property
    def failing(self) -> int:
        """How many classes of matrices fail as a whole."""
        return sum(row["failing"] for row in self.rows)

    @property
    def dependable(self) -> bool:
        """Whether all are finite, no class fails, and nearly all of every situation are sound."""
        finite = all(row["finite"] == 1 for row in self.rows)
        return finite and not self.failing and self.sound >= NEARLY_ALL

    @property
    def misleading(self) -> dict[str, Any] | None:
        """The first situation in which most gradients are not finite, or point away; else None."""
        away = (row for row in self.rows if row["finite"] < 0.5 or (row["cosine"] or 0) < 0)
        return next(away, None)


def standings(table: pl.DataFrame) -> list[Standing]:
    """By contestant what `table` says, which is `judged` of one loss and precision."""
    rows = table.partition_by("contestant", maintain_order=True)
    return [Standing(own["contestant"][0], own.to_dicts()) for own in rows]


@dataclass(frozen=True)
class Advice:
    """What the numbers recommend for one use, in one precision."""

    use: Use
    recommended: Sequence[Standing]
    """Dependable, not shown to be less often right than another, and not shown to be slower."""
    slower: Sequence[Standing]
    """Likewise, but shown to be slower than one of those."""
    less_right: Sequence[Standing]
    """Dependable, and shown to be less often right in some situation."""
    others: Sequence[Standing]
    avoid: Sequence[Standing]
    """Most gradients of some situation are not finite, or point away."""
    more_right: Sequence[tuple[str, str]]
    """Not dependable, and yet shown to be right more often than the first that is recommended:
    contestant and situation."""

    @property
    def everyone(self) -> list[Standing]:
        """All that were compared."""
        return [*self.recommended, *self.slower, *self.less_right, *self.others, *self.avoid]

    @property
    def best(self) -> list[Standing]:
        """Those with the best worst situation, dependable or not."""
        most = max((one.dependable, one.worst["right"]) for one in self.everyone)
        return [one for one in self.everyone if (one.dependable, one.worst["right"]) == most]

    @property
    def matrices(self) -> int:
        """How many matrices each method was measured on."""
        return sum(row["n"] for row in self.everyone[0].rows)

    @property
    def enough(self) -> bool:
        """Whether there are so many that something can be recommended."""
        return self.matrices >= ENOUGH


def advise(
    table: pl.DataFrame, otherwise: set[str], is_slower: Mapping[tuple[str, str], bool]
) -> list[Advice]:
    """The recommendations of a run: one for each use of which it has the loss.

    `table` is `judged` of one precision, of rows on which contestants can be compared; `otherwise`
    are those that whiten by another matrix than `M^(−1/2)`; `is_slower[a, b]` says whether a was
    shown to take more time than b.
    """
    found = []
    for use in USES:
        everyone = standings(table.filter(pl.col("loss") == use.loss))
        by_others = any(one.contestant in otherwise for one in everyone)
        if use.whitening_matrix and not by_others:
            continue
        if use.loss == "whitening" and not use.whitening_matrix:
            everyone = [one for one in everyone if one.contestant not in otherwise]
        # One that was not measured everywhere, as a reference is, has no worst situation.
        most = max((len(one.rows) for one in everyone), default=0)
        whole = [one for one in everyone if len(one.rows) == most]
        if len(whole) > 1:
            found.append(_advice(use, whole, is_slower))
    return found


def _advice(
    use: Use, everyone: Sequence[Standing], is_slower: Mapping[tuple[str, str], bool]
) -> Advice:
    dependable = [one for one in everyone if one.dependable]
    rest = [one for one in everyone if not one.dependable]
    among = differences([*itertools.permutations(dependable, 2)])
    worse = {name for name, _, decision in among if decision.answer == "lower"}
    best = [one for one in dependable if one.contestant not in worse]
    slower = [
        one
        for one in best
        if any(is_slower.get((one.contestant, other.contestant), False) for other in best)
    ]
    recommended = [one for one in best if one not in slower]
    beyond = differences([(one, recommended[0]) for one in rest] if recommended else [])
    return Advice(
        use=use,
        recommended=recommended,
        slower=slower,
        less_right=[one for one in dependable if one.contestant in worse],
        others=[one for one in rest if not one.misleading],
        avoid=[one for one in rest if one.misleading],
        more_right=[(name, where) for name, where, d in beyond if d.answer == "higher"],
    )


def differences(pairs: Sequence[tuple[Standing, Standing]]) -> list[tuple[str, str, Decision]]:
    """Whether the first of a pair is right more or less often, in each situation of both.

    Its contestant, the situation, and what is shown; all are asked together.
    """
    asked = [
        (one.contestant, row["situation"], _difference(row, other_row))
        for one, other in pairs
        for row in one.rows
        for other_row in other.rows
        if row["situation"] == other_row["situation"]
    ]
    decisions = decide([found for *_, found in asked])
    return [(name, where, d) for (name, where, _), d in zip(asked, decisions, strict=True)]


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    """The share of right gradients of one row of `judged` less that of another.

    Both are of the same matrices, and so compared matrix by matrix (McNemar's exact test).
    """
    pairs = list(zip(one["each"], other["each"], strict=True))
    gained = sum(mine and not theirs for mine, theirs in pairs)
    lost = sum(theirs and not mine for mine, theirs in pairs)
    least = min(1.0, 2 * 0.5 ** (gained + lost))
    p = discordant(lost, gained)
    return Interval(one["right"] - other["right"], math.nan, math.nan, p, least)
