"""Two profiles of one workload: times by round against the reference, memory, operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report.compare.effects import TIME, Draft, Quantity, amount, exact, pass_time
from eigbench.report.compare.noise import (
    RATIO_BETWEEN_RUNS,
    RATIO_SHARE,
    TIME_BETWEEN_RUNS,
    TIME_SHARE,
    Floats,
    Level,
    between,
    level,
)
from eigbench.runs.record import Record

PASSES = ("forward", "backward", "update")
FIRST_CALL = Quantity("first call", "slower", "faster", timed=True)

AMOUNTS = {
    "peak_bytes": amount("peak bytes", least=1.01),
    "saved_bytes": amount("saved bytes", least=1.01),
    "forward_operators": amount("forward operators"),
    "backward_operators": amount("backward operators"),
    "update_operators": amount("update operators"),
    "kernels": amount("kernels"),
    "synchronisations": amount("synchronisations"),
}
"""Metrics with one value that chance has no part in; of bytes less than 1 % is no change."""


@dataclass(frozen=True)
class Terms:
    """What two runs share, on which it depends what can be held against what."""

    same_machine: bool
    same_torch: bool

    @property
    def time_decides(self) -> bool:
        """Whether times are judged, and not what they are of their reference's.

        The ratio to the reference takes the drift of a machine out of a time, and the machine
        itself. Under another torch the reference is another program, though, and its ratio does
        not say which of the two has changed: on the same machine the times do.
        """
        return self.same_machine and not self.same_torch


def drafts(a: Record, b: Record, terms: Terms) -> list[Draft]:
    """The effects of a profile that both runs measured."""
    passes = [name for name in PASSES if _seconds(a, [name]).size and _seconds(b, [name]).size]
    parts = {TIME: passes, **{pass_time(name): [name] for name in passes}}
    times = [
        draft
        for quantity, part in parts.items()
        if part
        for draft in _times(quantity, part, (a, b), terms)
    ]
    if not times:
        times = [Draft(TIME, math.nan, math.nan, note="no pass was timed in both runs")]
    amounts = [
        exact(quantity, a.values(metric)[0], b.values(metric)[0])
        for metric, quantity in AMOUNTS.items()
        if len(a.values(metric)) == len(b.values(metric)) == 1
    ]
    first = [record.values("first_call_seconds") for record in (a, b)]
    if all(len(values) == 1 for values in first):
        amounts.append(Draft(FIRST_CALL, first[0][0], first[1][0], given="not judged"))
    return [*times, *amounts]


def _times(
    quantity: Quantity, passes: Sequence[str], records: tuple[Record, Record], terms: Terms
) -> list[Draft]:
    """The draft that is judged, and the other that stands beside it."""
    case = records[0].case
    assert isinstance(case, ProfileCase)  # noqa: S101
    logs = [np.log(_seconds(record, passes)) for record in records]
    time = _draft(quantity, [_level(own, TIME_SHARE) for own in logs], TIME_BETWEEN_RUNS)
    # Without a reference in the same rounds there is the time, if the machine is the same.
    judged = [time if terms.same_machine else replace(time, given="not judged")]
    references = [np.log(_seconds(record, passes, "reference_")) for record in records]
    if all(len(own) == len(other) for own, other in zip(logs, references, strict=True)):
        ratios = [own - other for own, other in zip(logs, references, strict=True)]
        ratio = replace(
            _draft(quantity, [_level(own, RATIO_SHARE) for own in ratios], RATIO_BETWEEN_RUNS),
            relative_to=REFERENCES[case.subject][0],
        )
        both = [time, ratio] if terms.time_decides else [ratio, time]
        judged = [both[0], replace(both[1], given="not judged")]
    if case.is_reference and not terms.time_decides:
        # The same program in both runs: what changes is the machine.
        return [replace(draft, given="not judged") for draft in judged]
    return judged


def _level(values: Floats, share: float) -> Level | None:
    found = level(values)
    return found.moved(share) if found else None


def _draft(quantity: Quantity, levels: Sequence[Level | None], allowance: float) -> Draft:
    """Levels of both runs and their difference, none where a run has too few rounds."""
    a, b = levels
    if a is None or b is None:
        return Draft(quantity, math.nan, math.nan, note="too few rounds, or a time that is none")
    return Draft(quantity, math.exp(a.value), math.exp(b.value), between([a], [b], allowance))


def _seconds(record: Record, passes: Sequence[str], of: str = "") -> Floats:
    """The sum of these passes by round `(rounds,)`; NaN where a clock gave nothing above 0."""
    columns = [np.array(record.values(f"{of}{name}_seconds")) for name in passes]
    if len({len(column) for column in columns}) != 1:
        return np.array([])
    seconds: Floats = np.sum([np.where(column > 0, column, np.nan) for column in columns], axis=0)
    return seconds
