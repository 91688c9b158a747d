"""How cost grows with the matrix size and with the batch: pictures, exponents, cliffs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy import stats as scipy_stats

from eigbench.report import costs as of_costs
from eigbench.report.costs import Costs, look, reference_of
from eigbench.report.frame import values_of
from eigbench.report.names import label, word
from eigbench.report.numbers import fixed, interval_span, significant, span
from eigbench.report.plots import legend_below, panels, save
from eigbench.report.render import Chapter, render, table
from eigbench.report.stats import CONFIDENCE, Interval

Points = list[tuple[int, Interval]]
"""A median by the values of an axis, ascending."""

OTHER = {"d": "batch", "batch": "d"}
POWERS = {"d": 3, "batch": 1}
"""The most that work grows with an axis: a decomposition is cubic, a batch is proportional."""

MARGIN = 1.5
"""A cliff is a change beyond that by this factor, with both intervals on the far side."""

OVERHEAD = 2.0
"""What takes less than so many times the time at the smallest size is mostly overhead."""
LEAST_SIZES = 3
WIDE = 0.5
"""An exponent that is known no better than ± this says nothing, and is not shown."""
FINE = 0.1
"""One that is known better than this has two digits after the point."""

MOST_PRECISIONS = 2
CLOSE = 1.25
"""Sizes that are closer than this factor have one label between them."""


def chapters(costs: Costs) -> list[Chapter]:
    """The chapter, if anything was timed at several sizes."""
    pictures = [
        found for (what,), own in costs.timed.group_by("what", maintain_order=True)
        for axis in OTHER if (found := _picture(costs, str(what), own, axis))
    ]  # fmt: skip
    exponents, jumps = _exponents(costs), _cliff_table(cliffs(costs))
    if not (pictures or exponents or jumps):
        return []
    body = render("profile-growth", pictures=pictures, exponents=exponents, cliffs=jumps,
                  overhead=OVERHEAD, least=LEAST_SIZES, margin=MARGIN, wide=WIDE)  # fmt: skip
    return [Chapter("How the time grows", body)]


def along(costs: Costs, rows: pl.DataFrame, axis: str) -> Points:
    """The median times of one contestant by the values of an axis, ascending."""
    found = {row[axis]: costs.times[row["id"]] for row in rows.iter_rows(named=True)}
    return sorted((size, time) for size, time in found.items() if size is not None and time)


def lines(costs: Costs, axis: str) -> Iterator[tuple[dict[str, Any], str, Points]]:
    """Each subject, precision and value of the other axis, with a contestant's times by `axis`."""
    keys = ("subject", "what", "dtype", OTHER[axis])
    for key, own in costs.timed.group_by(*keys, maintain_order=True):
        for name in of_costs.contestants(own):
            points = along(costs, own.filter(contestant=name), axis)
            yield dict(zip(keys, key, strict=True)), name, points


# Exponents.


def exponent(points: Points) -> tuple[Interval, list[int]] | None:
    """The slope of log time over log size, and the upper sizes, which it is fitted to.

    None if these are fewer than `LEAST_SIZES`.

    The upper sizes are those from which on every time is at least `OVERHEAD` times that of the
    smallest size, where a method pays for its calls and not for its work. The interval is that of
    a line through the medians (Student's t): it tells how straight they are.
    """
    upper = list(points)
    for position in reversed(range(len(points))):
        if points[position][1].value < OVERHEAD * points[0][1].value:
            upper = points[position + 1 :]
            break
    if len(upper) < LEAST_SIZES:
        return None
    fit = scipy_stats.linregress(
        [math.log(size) for size, _ in upper], [math.log(time.value) for _, time in upper]
    )
    reach = float(scipy_stats.t.ppf((1 + CONFIDENCE) / 2, len(upper) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return Interval(slope, slope - reach, slope + reach), [size for size, _ in upper]


def _exponents(costs: Costs) -> str:
    """A row a subject, precision, axis and contestant; those alone that say something."""
    body = []
    for axis, other in OTHER.items():
        for place, name, points in lines(costs, axis):
            one, sizes = exponent(points) or (None, [])
            if one is None or not one.reach <= WIDE:
                continue
            digits = 2 if one.reach < FINE else 1
            value, low, high = (fixed(end, digits) for end in (one.value, one.low, one.high))
            where = f"{place['what']}, {place['dtype']}, {word(other, place[other])}"
            fitted = f"{sizes[0]} to {sizes[-1]}"
            body.append([where, label(axis), name, value, f"{low} to {high}", fitted])
    heads = ["where", "size", "method", "exponent", "95 % interval", "fitted to"]
    return table(heads, body) if body else ""


# Cliffs.


@dataclass(frozen=True)
class Cliff:
    """A jump of one contestant's time, or a fall, from one size to the next."""

    name: str
    what: str
    place: str
    """Precision and the value of the other axis."""
    axis: str
    start: int
    end: int
    ratio: float
    """The time at `end` over that at `start`."""

    @property
    def accounted(self) -> float:
        """The most that the size accounts for."""
        return float((self.end / self.start) ** POWERS[self.axis])

    @property
    def excess(self) -> float:
        """How far it is from what the size accounts for, as a factor above 1."""
        return self.ratio / self.accounted if self.ratio > 1 else 1 / self.ratio

    @property
    def step(self) -> str:
        """From where to where."""
        return f"{word(self.axis, self.start)} to {self.end}"


def jumps(points: Points, power: int) -> Iterator[tuple[int, int, float]]:
    """Each pair of neighbours with a cliff between them, and the ratio of their times.

    The time has either grown by more than `MARGIN` × (size ratio)^power, or fallen to less than
    1/`MARGIN`; and it has whichever ends of the two intervals are taken.
    """
    for (start, before), (end, after) in itertools.pairwise(points):
        least, most = after.low / before.high, after.high / before.low
        if least > MARGIN * (end / start) ** power or most < 1 / MARGIN:
            yield start, end, after.value / before.value


def cliffs(costs: Costs) -> list[Cliff]:
    """Every cliff in d and in the batch, contestant by contestant."""
    return [
        Cliff(name, place["what"], f"{place['dtype']}, {word(OTHER[axis], place[OTHER[axis]])}",
              axis, *jump)
        for axis in OTHER
        for place, name, points in lines(costs, axis)
        for jump in jumps(points, POWERS[axis])
    ]  # fmt: skip


def largest_cliffs(costs: Costs, most: int = 3) -> list[dict[str, Any]]:
    """Facts on the largest cliffs: those in d first, a subject's between two sizes together."""
    together: dict[tuple[str, str], list[Cliff]] = {}
    for one in cliffs(costs):
        together.setdefault((one.what, one.step), []).append(one)
    ordered = sorted(
        together.values(), key=lambda own: (own[0].axis != "d", -max(one.excess for one in own))
    )
    return [
        {"what": f"{own[0].what}, {', '.join(dict.fromkeys(one.place for one in own))}",
         "step": own[0].step, "accounted": own[0].accounted,
         "ratios": span((one.ratio for one in own), significant),
         "methods": list(dict.fromkeys(one.name for one in own))}
        for own in ordered[:most]
    ]  # fmt: skip


def _cliff_table(found: Sequence[Cliff]) -> str:
    together: dict[tuple[str, str, str], list[Cliff]] = {}
    for one in found:
        together.setdefault((one.what, one.place, one.step), []).append(one)
    body = [
        [f"{what}, {place}", step, span((one.ratio for one in own), significant),
         significant(own[0].accounted), ", ".join(one.name for one in own)]
        for (what, place, step), own in together.items()
    ]  # fmt: skip
    heads = ["where", "between", "time ×", "of which the size at most", "methods"]
    return table(heads, body) if body else ""


# Pictures.


def _picture(costs: Costs, what: str, own: pl.DataFrame, axis: str) -> dict[str, Any] | None:
    """The ratio to the reference by size: a panel for the ends of the other axis, by precision."""
    own = own.filter(~pl.col("reference"), pl.col("ratio").is_finite(),
                     pl.col(axis).is_not_null())  # fmt: skip
    shown = _chosen(own, axis)
    if not shown:
        return None
    largest = {
        name: max(rows.filter(contestant=name)["ratio"].max() for rows in shown
                  if name in rows["contestant"])  # type: ignore[type-var]
        for name in of_costs.contestants(pl.concat(shown))
    }  # fmt: skip
    beyond = of_costs.dwarfing(largest)  # type: ignore[arg-type]
    figure, axes = panels(len(shown), width=4.6 if len(shown) > 1 else 6.4, height=3.2)
    for panel, rows in zip(axes, shown, strict=True):
        for name in of_costs.contestants(rows):
            if name not in beyond:
                _line(panel, costs, rows.filter(contestant=name).sort(axis), axis, name)
        panel.axhline(1, color="black", linestyle=":", linewidth=1, zorder=0)
        panel.set(xscale="log", xlabel=label(axis))
        panel.set_ylabel(f"time over {reference_of(rows['subject'][0])}")
        panel.set_title(f"{rows['dtype'][0]}, {word(OTHER[axis], rows[OTHER[axis]][0])}",
                        fontsize=9)  # fmt: skip
        _ticks(panel, values_of(rows, axis))
    legend_below(figure, axes)
    slug = own["subject"][0] + (f"-{own['layer'][0]}" if own["layer"][0] else "")
    rows = pl.concat(shown)
    ids = {name: rows.filter(contestant=name)["id"] for name in beyond}
    return {
        "link": save(figure, costs.frames.folder, f"profile-{slug}-by-{axis}"),
        "what": what,
        "axis": label(axis),
        "beyond": [(name, interval_span(map(costs.ratios.get, ids[name]))) for name in beyond],
    }


def _chosen(own: pl.DataFrame, axis: str) -> list[pl.DataFrame]:
    """By precision the rows of the smallest value of the other axis, and of the largest one.

    A line of few points beside others of many shows nothing, and is left out.
    """
    groups = [
        rows for _, rows in own.sort(OTHER[axis], maintain_order=True).group_by(
            "dtype", OTHER[axis], maintain_order=True)
    ]  # fmt: skip
    least = max([1.0, *(rows[axis].n_unique() / 2 for rows in groups)])
    by_dtype: dict[str, list[pl.DataFrame]] = {}
    for rows in groups:
        if rows[axis].n_unique() > least:
            by_dtype.setdefault(rows["dtype"][0], []).append(rows)
    ends = [found if len(found) < 2 else [found[0], found[-1]] for found in by_dtype.values()]
    return [rows for found in ends[:MOST_PRECISIONS] for rows in found]


def _line(panel: Any, costs: Costs, rows: pl.DataFrame, axis: str, name: str) -> None:
    """The medians, and their intervals upright through them."""
    known = [(row[axis], ratio) for row in rows.iter_rows(named=True)
             if (ratio := costs.ratios[row["id"]])]  # fmt: skip
    sizes, own = [size for size, _ in known], look(name)
    ends = ([getattr(ratio, end) for _, ratio in known] for end in ("low", "high"))
    panel.vlines(sizes, *ends, color=own["color"], linewidth=1, alpha=0.5)
    panel.plot(sizes, [ratio.value for _, ratio in known], label=name, linewidth=1.3, **own)


def _ticks(panel: Any, sizes: Sequence[int]) -> None:
    """The sizes themselves, but for those too close to the one before."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size >= CLOSE * kept[-1]:
            kept.append(size)
    panel.set_xticks(kept, [str(size) for size in kept], fontsize=8)
    panel.set_xticks([], minor=True)
