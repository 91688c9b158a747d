"""The rule by which a ratio has become worse, and the words in which the gate says so.

Nothing here measures, and nothing reads a file: `baseline.py` does, and `conftest.py` puts all
together. The page docs/regression-gate.md says why the rule is what it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

SLOWDOWN = 1.15
"""What the gate is to catch."""
MARGIN = 1.03
"""How far beyond everything that the baseline has seen a ratio may lie, at least."""
MARGIN_ELSEWHERE = 1.5
"""The same on another processor or with another torch, where ratios differ without any fault."""
ACCEPT = "nox -s bench -- --accept-baseline"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The median ratio of one measurement, and where it lies at 99 %."""

    ratio: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark's baseline: one estimate for each of several processes, at one place."""

    where: str
    runs: list[Estimate]

    @property
    def ratio(self) -> float:
        """The median over processes."""
        return statistics.median(run.ratio for run in self.runs)

    @property
    def low(self) -> float:
        """The lowest ratio of a process."""
        return min(run.ratio for run in self.runs)

    @property
    def high(self) -> float:
        """The highest ratio of a process."""
        return max(run.ratio for run in self.runs)

    @property
    def spread(self) -> float:
        """How far apart the ratios of processes are: the highest over the lowest, minus 1."""
        return self.high / self.low - 1

    def limit(self, where: str) -> float:
        """A ratio whose whole interval lies above this is worse, measured at `where`."""
        return self.high * ((MARGIN if where == self.where else MARGIN_ELSEWHERE) + self.spread / 2)

    @property
    def visible(self) -> float:
        """The slow-down that is worse, of a ratio and an interval amid those of the baseline."""
        ends = statistics.median(run.low / run.ratio for run in self.runs)
        return self.limit(self.where) / (self.ratio * ends)

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Verdict:
    """What the gate found for one benchmark."""

    estimates: tuple[Estimate, ...]
    """Every measurement that was taken: more than one where the first was worse."""
    outcome: str
    """"held", "worse", "disturbed" (worse, and then not), "no baseline"."""
    alarm: str | None = None
    """Why the gate fails, or None where it does not."""
    entry: Entry | None = None
    """The baseline that it was held against."""


def judge(
    name: str,
    measure: Callable[[int], Estimate],
    entry: Entry | None,
    where: str,
    pause: Callable[[], None],
) -> Verdict:
    """Measure the benchmark `name` and compare it with its baseline.

    `measure(factor)` measures with so many times the usual number of pairs. A ratio is worse when
    its whole interval lies above the limit. Then it is measured again with twice the pairs, and
    once more so after a `pause`: a slower program is still slower, a disturbed machine seldom is.
    """
    estimates = [measure(1)]
    if entry is None:
        return Verdict(tuple(estimates), "no baseline", _no_baseline(name, estimates[0]))
    limit = entry.limit(where)
    if estimates[0].low <= limit:
        return Verdict(tuple(estimates), "held", entry=entry)
    for attempt in ("at once", "later"):
        if attempt == "later":
            pause()
        estimates.append(measure(2))
        if estimates[-1].low <= limit:
            return Verdict(tuple(estimates), "disturbed", entry=entry)
    return Verdict(tuple(estimates), "worse", _worse(name, estimates, entry, where), entry)


def _no_baseline(name: str, estimate: Estimate) -> str:
    return (
        f"{name} has no baseline (measured: {estimate}). Add it with\n"
        f"    {ACCEPT} -k '{selecting(name)}'\n"
        "and commit tests/benchmarks/baseline.json."
    )


def _worse(name: str, estimates: list[Estimate], entry: Entry, where: str) -> str:
    lines = [
        f"{name} became slower beside its reference: {estimates[-1].ratio / entry.ratio:.2f} times",
        f"    baseline  {entry}, of {len(entry.runs)} processes",
        *(f"    now       {estimate}, of {estimate.pairs} pairs" for estimate in estimates),
        f"    allowed   up to {entry.limit(where):.3f}",
    ]
    if where != entry.where:
        lines.append(
            f"The baseline is from another place, so the margin is {MARGIN_ELSEWHERE} instead of "
            f"{MARGIN}:\n    baseline  {entry.where}\n    now       {where}"
        )
    lines.append(
        "If this is meant, accept it with\n"
        f"    {ACCEPT} -k '{selecting(name)}'\n"
        "and commit tests/benchmarks/baseline.json."
    )
    return "\n".join(lines)


def selecting(name: str) -> str:
    """What `pytest -k` takes to run the benchmark `name` (`file.py::test[parameters]`)."""
    test, _, parameters = name.partition("::")[2].rstrip("]").partition("[")
    return f"{test} and {parameters}" if parameters else test
