"""Cliffs: neighbouring sizes between which the time changes by more than the size accounts for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from eigbench.report.markdown import table
from eigbench.report.profile import writing
from eigbench.report.profile.naming import SUBJECTS, Names
from eigbench.report.profile.profiles import Profile, values_of, where
from eigbench.report.profile.scaling import Points, along

POWERS = {"d": 3, "batch": 1}
"""The most that work grows with an axis: a decomposition is cubic, a batch is proportional."""

MARGIN = 1.5
"""A cliff is a change beyond that by this factor, with both intervals on the far side."""

_WORDS = {"d": "d =", "batch": "batch"}


@dataclass(frozen=True)
class Cliff:
    """A jump of one method's time, or a fall, from one size to the next."""

    label: str
    subject: str
    dtype: str
    axis: str
    at: str
    """The value of the other axis."""
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
        return f"{_WORDS[self.axis]} {self.start} → {self.end}"

    @property
    def place(self) -> str:
        """Where it was met, but for the sizes."""
        return f"{SUBJECTS[self.subject].lower()}, {self.dtype}, {self.at}"


def jumps(points: Points, power: int) -> Iterator[tuple[int, int, float]]:
    """Each pair of neighbours with a cliff between them, and the ratio of their times.

    The time has either grown by more than `MARGIN` × (size ratio)^power, or fallen to less than
    1/`MARGIN`; and it has whichever ends of the two intervals are taken.
    """
    for (start, before), (end, after) in itertools.pairwise(points):
        least, most = after.low / before.high, after.high / before.low
        if least > MARGIN * (end / start) ** power or most < 1 / MARGIN:
            yield start, end, after.middle / before.middle


def find(profiles: Sequence[Profile], names: Names) -> list[Cliff]:
    """Every cliff in d and in the batch, method by method."""
    found = []
    for subject in values_of(profiles, "subject"):
        for dtype in values_of(profiles, "dtype"):
            own = where(profiles, subject=subject, dtype=dtype)
            for axis, other in (("d", "batch"), ("batch", "d")):
                for value in values_of(own, other):
                    at = f"{_WORDS[other]} {value}"
                    for label, same in names.group(where(own, **{other: value})).items():
                        found += [
                            Cliff(label, subject, dtype, axis, at, *jump)
                            for jump in jumps(along(same, axis), POWERS[axis])
                        ]
    return found


def together(cliffs: Sequence[Cliff]) -> list[list[Cliff]]:
    """Those of a subject between the same sizes, which are taken for one cliff."""
    return _grouped(cliffs, lambda cliff: (cliff.subject, cliff.step))


def _grouped(cliffs: Sequence[Cliff], key: Callable[[Cliff], object]) -> list[list[Cliff]]:
    found: dict[object, list[Cliff]] = {}
    for cliff in cliffs:
        found.setdefault(key(cliff), []).append(cliff)
    return list(found.values())


def sections(cliffs: Sequence[Cliff]) -> list[str]:
    """A table of them, and the rule."""
    rule = (
        "A cliff is where the time of the next larger size is more than "
        f"{MARGIN:g} × what the size accounts for at most, its cube for d and itself for the "
        f"batch, or less than 1/{MARGIN:g} of the smaller one's; with both of the times' "
        "intervals on the far side of that. A backend that changes its algorithm shows so."
    )
    if not cliffs:
        return ["### Cliffs", f"{rule} There is none in this run."]
    body = []
    for group in _grouped(cliffs, lambda cliff: (cliff.step, cliff.place)):
        first = group[0]
        ratios = writing.plain_span(cliff.ratio for cliff in group)
        labels = ", ".join(cliff.label for cliff in group)
        body.append([first.place, first.step, ratios, writing.plain(first.accounted), labels])
    headers = ["where", "between", "time ×", "of which the size at most", "methods"]
    return ["### Cliffs", rule, table(headers, body)]


def marked(cliffs: Sequence[Cliff], axis: str) -> list[tuple[int, int]]:
    """The pairs of sizes between which a figure marks a cliff."""
    return list(dict.fromkeys((c.start, c.end) for c in cliffs if c.axis == axis))
