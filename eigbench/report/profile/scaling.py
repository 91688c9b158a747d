"""How times grow with the matrix size and with the batch: exponents of a power law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eigbench.report.markdown import NOTHING, percent, table
from eigbench.report.profile import writing
from eigbench.report.profile.estimates import CONFIDENCE, Estimate
from eigbench.report.profile.naming import SUBJECTS, Names
from eigbench.report.profile.profiles import Profile, timed, values_of, where

OVERHEAD = 2.0
"""What takes less than so many times the time at the smallest size is mostly overhead."""
LEAST_SIZES = 3
WIDE = 0.1
"""An exponent that is not known to so much has one digit after the point."""

Points = list[tuple[int, Estimate]]


@dataclass(frozen=True)
class Exponent:
    """The slope of log time over log size, its interval, and the sizes that it is fitted to."""

    value: float
    low: float
    high: float
    sizes: tuple[int, ...]


def along(profiles: Sequence[Profile], axis: str) -> Points:
    """The median times of one method by the values of an axis, ascending."""
    found: dict[int, Estimate] = {}
    for profile in timed(profiles):
        value = getattr(profile.case, axis)
        if value is not None and profile.time:
            found.setdefault(value, profile.time)
    return sorted(found.items())


def exponent(points: Points) -> Exponent | None:
    """The power law of the upper sizes; None if they are fewer than `LEAST_SIZES`.

    The upper sizes are those from which on every time is at least `OVERHEAD` times that of the
    smallest size, where a method pays for its calls and not for its work. The interval is that of
    a line through the medians: it tells how straight they are.
    """
    upper = list(points)
    for position in reversed(range(len(points))):
        if points[position][1].middle < OVERHEAD * points[0][1].middle:
            upper = points[position + 1 :]
            break
    if len(upper) < LEAST_SIZES:
        return None
    from scipy import stats  # late: slow to import

    fit = stats.linregress(
        [math.log(size) for size, _ in upper], [math.log(time.middle) for _, time in upper]
    )
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(upper) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return Exponent(slope, slope - reach, slope + reach, tuple(size for size, _ in upper))


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Exponents in d and in the batch, by precision."""
    parts = [
        part
        for subject in values_of(profiles, "subject")
        for axis, other, word in (("d", "batch", "batch"), ("batch", "d", "d ="))
        for part in _tables(where(profiles, subject=subject), names, axis, other, word)
    ]
    if not parts:
        return []
    return [
        "### Exponents",
        "The p of time ∝ sizeᵖ, a straight line through the logarithms of the median times, with "
        f"its {percent(CONFIDENCE)} interval (Student's t, which is wide for three sizes). It is "
        "fitted to the upper sizes only: those from which on every time is at least "
        f"{OVERHEAD:g} × that of the smallest size, since below them the time is that of the calls "
        f"themselves. Where those are fewer than {LEAST_SIZES} sizes, there is no exponent.",
        *parts,
    ]


def _tables(
    profiles: Sequence[Profile], names: Names, axis: str, other: str, word: str
) -> list[str]:
    parts = []
    for dtype in values_of(profiles, "dtype"):
        own = where(profiles, dtype=dtype)
        columns = values_of(own, other)
        text = _table(own, names, axis, [(f"{word} {v}", {other: v}) for v in columns])
        if text:
            what = "matrix size d" if axis == "d" else axis
            title = SUBJECTS[own[0].case.subject]
            parts += [f"**{title}, {dtype}: exponent in the {what}**", text]
    return parts


def _table(
    profiles: Sequence[Profile],
    names: Names,
    axis: str,
    columns: Sequence[tuple[str, dict[str, int]]],
) -> str:
    body = []
    for label, own in names.group(profiles).items():
        found = [exponent(along(where(own, **chosen), axis)) for _, chosen in columns]
        body.append([label, *(_written(one, axis) for one in found)])
    heads = ["method", *(head for head, _ in columns)]
    kept = [i for i in range(len(heads)) if not i or any(row[i] != NOTHING for row in body)]
    if len(kept) == 1:
        return ""
    shown = [row for row in body if any(row[i] != NOTHING for i in kept[1:])]
    return table([heads[i] for i in kept], [[row[i] for i in kept] for row in shown])


def _written(one: Exponent | None, axis: str) -> str:
    if one is None:
        return NOTHING
    reach = one.high - one.value
    digits = 2 if reach < WIDE else 1
    value, low, high = (writing.fixed(end, digits) for end in (one.value, one.low, one.high))
    return f"{value} ({low} to {high}; {axis} {one.sizes[0]}–{one.sizes[-1]})"
