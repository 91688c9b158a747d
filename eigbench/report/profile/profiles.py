"""Records as profiles to select and compare: a method, or a reference, in one workload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.kinds import Case
from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report.profile.estimates import Estimate, estimate
from eigbench.runs.record import Record

Floats = NDArray[np.float64]

PASSES = ("forward", "backward", "update")
"""What a run consists of; only a training step has an update."""

SIZE = ("layer", "d", "energy")
"""Together, how large a workload's matrices are."""


@dataclass(frozen=True)
class Profile:
    """One case; its record is None while it is planned and not measured."""

    case: ProfileCase
    record: Record | None = None

    @property
    def status(self) -> str:
        """What became of it: "measured", "failed", "skipped", or still "planned"."""
        return self.record.status if self.record else "planned"

    @property
    def size(self) -> tuple[Any, ...]:
        """Layer, d and energy."""
        return tuple(getattr(self.case, axis) for axis in SIZE)

    def values(self, metric: str) -> Floats:
        """The raw values of a metric; empty if it has none."""
        return np.array(self.record.values(metric) if self.record else [], dtype=np.float64)

    def once(self, metric: str) -> float:
        """The one value of a metric; NaN if there is none."""
        return next((float(v) for v in self.values(metric) if np.isfinite(v)), float("nan"))

    def words(self, name: str) -> list[str]:
        """Words of the record; empty if it has none."""
        return self.record.labels.get(name, []) if self.record else []

    @cached_property
    def seconds(self) -> Floats:
        """By round: a whole run, which is forward, backward and, for a step, the update."""
        return _sum([self.values(f"{name}_seconds") for name in PASSES])

    @cached_property
    def time(self) -> Estimate | None:
        """The median run, in seconds."""
        return estimate(self.seconds)

    def time_of(self, name: str) -> Estimate | None:
        """The median of one pass, in seconds."""
        return estimate(self.values(f"{name}_seconds"))

    @cached_property
    def ratio(self) -> Estimate | None:
        """The run over that of the workload's first reference, in the same rounds."""
        names = [f"reference_{name}_seconds" for name in PASSES]
        return _quotient(self.seconds, _sum([self.values(name) for name in names]))

    def over(self, other: Profile) -> Estimate | None:
        """The run over another's, round by round; None if they were not timed in turn."""
        return _quotient(self.seconds, other.seconds) if self._in_turn(other) else None

    def added(self, other: Profile) -> Estimate | None:
        """The run less another's, round by round, in seconds; None as above."""
        if not self._in_turn(other):
            return None
        return estimate(self.seconds - other.seconds, signed=True)

    def _in_turn(self, other: Profile) -> bool:
        """Whether the rounds of both are the same ones: a resumed run has others."""
        same = self.words("contest") == other.words("contest") != []
        return same and len(self.seconds) == len(other.seconds)


def gather(planned: Iterable[Case], records: Iterable[Record]) -> list[Profile]:
    """The profiles of a run: the planned ones in their order, then any other with a record."""
    cases = {case.id: case for case in planned if isinstance(case, ProfileCase)}
    found: dict[str, Record] = {}
    for record in records:
        if isinstance(record.case, ProfileCase):
            cases.setdefault(record.id, record.case)
            found[record.id] = record
    return [Profile(case, found.get(key)) for key, case in cases.items()] if found else []


def where(profiles: Iterable[Profile], **axes: Any) -> list[Profile]:
    """The profiles whose case has these values."""
    return [p for p in profiles if all(getattr(p.case, name) == v for name, v in axes.items())]


def timed(profiles: Iterable[Profile]) -> list[Profile]:
    """Those that have a time."""
    return [profile for profile in profiles if profile.time]


def values_of(profiles: Iterable[Profile], axis: str) -> list[Any]:
    """The values that an axis takes: numbers ascending, words in order of appearance."""
    found = dict.fromkeys(getattr(profile.case, axis) for profile in profiles)
    present = [value for value in found if value is not None]
    return present if any(isinstance(value, str) for value in present) else sorted(present)


def workloads(profiles: Iterable[Profile]) -> list[list[Profile]]:
    """The profiles of each workload, in order."""
    found: dict[str, list[Profile]] = {}
    for profile in profiles:
        found.setdefault(profile.case.workload.id, []).append(profile)
    return list(found.values())


def reference(profiles: Sequence[Profile], of: Profile, position: int = 0) -> Profile | None:
    """A reference of the same workload, by default the one that ratios are taken to."""
    names = REFERENCES.get(of.case.subject, ())
    name = names[position] if position < len(names) else None
    key = of.case.workload.id
    same = (p for p in profiles if p.case.method == name and p.case.workload.id == key)
    return next((profile for profile in same if profile.time), None)


def _sum(passes: Sequence[Floats]) -> Floats:
    """Forward, backward and the update where there is one, round by round; else nothing."""
    forward, backward, update = passes
    if len(forward) != len(backward) or len(update) not in (0, len(forward)):
        return np.array([], dtype=np.float64)
    return forward + backward + (update if len(update) else 0)


def _quotient(seconds: Floats, others: Floats) -> Estimate | None:
    if len(seconds) != len(others):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return estimate(seconds / others)
