"""How long a suite takes: from records of this machine, and from a sample that is measured now.

A sample is taken from each stratum, the cases of one kind and size, in turn, until its time is
over. A training is measured for a few steps.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from eigbench.errors import InputError
from eigbench.kinds import KINDS, Case
from eigbench.kinds.train import TrainCase
from eigbench.runs.environment import Session
from eigbench.runs.place import Job, Place
from eigbench.runs.record import Record
from eigbench.runs.store import PACKED, RECORDS, read_run
from eigbench.runs.suite import Suite


@dataclass
class Estimate:
    """About how long the cases of one kind take in one process, one after the other."""

    kind: str
    cases: int = 0
    seconds: float = 0.0
    variance: float = 0.0
    """Of `seconds`: that of a sample, whose cases differ."""
    recorded: int = 0
    """Cases whose time is that of an earlier run."""
    sampled: int = 0
    """Cases that were measured for this."""
    unknown: int = 0
    """Cases of which nothing is known: the time was over before any like them was measured."""

    @property
    def span(self) -> tuple[float, float]:
        """The seconds that it takes, give or take two standard errors."""
        error = 2 * math.sqrt(self.variance)
        return max(0.0, self.seconds - error), self.seconds + error


@dataclass
class _Stratum:
    """Cases that are taken to be alike, in units of what is measured at once."""

    units: list[list[Case]] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    """Seconds of the units that were measured."""

    def next_unit(self) -> list[Case] | None:
        """The next one of the sample: the last first, which is the largest, then evenly spaced."""
        n, count = len(self.taken), len(self.units)
        if n >= min(count, MOST_OF_A_STRATUM):
            return None
        return self.units[-1 - (n * count) // MOST_OF_A_STRATUM]


MOST_OF_A_STRATUM = 8
SECONDS_OF_A_SAMPLE = 20.0


def recorded_seconds(folders: Iterable[Path], like: Session) -> dict[str, float]:
    """How long cases took in earlier runs on such a machine, by the id of the case."""
    found: dict[str, float] = {}
    for folder in folders:
        if not any((folder / name).is_file() for name in (RECORDS, PACKED)):
            continue
        try:
            run = read_run(folder)
        except (InputError, OSError):
            continue
        sessions = dict(enumerate(run.environment.sessions))
        for record in run.records:
            session = sessions.get(record.session)
            if session is not None and _machine(session) == _machine(like):
                found[record.id] = record.elapsed_seconds
    return found


def _machine(session: Session) -> tuple[str, str, int]:
    return session.processor, session.device, session.logical_cores


def estimate(
    suite: Suite,
    plan: Sequence[Case],
    known: dict[str, float],
    seconds: float = SECONDS_OF_A_SAMPLE,
    check: Callable[[], None] = lambda: None,
) -> list[Estimate]:
    """The estimates of a plan by kind; what is not `known` is measured for up to `seconds`."""
    by_kind = {kind: Estimate(kind, count) for kind, count in Counter(c.kind for c in plan).items()}
    strata: dict[tuple[object, ...], _Stratum] = defaultdict(_Stratum)
    units: dict[str, list[Case]] = defaultdict(list)
    for case in plan:
        units[case.measured_with.id].append(case)
    for unit in units.values():
        own = by_kind[unit[0].kind]
        if all(case.id in known for case in unit):
            own.recorded += len(unit)
            own.seconds += sum(known[case.id] for case in unit)
        else:
            strata[_alike(unit[0])].units.append(unit)
    if strata:
        sample = _Sample(suite, plan)
        kinds = {kind for kind, *_ in strata}
        for kind in kinds:
            own_strata = [stratum for (name, *_), stratum in strata.items() if name == kind]
            _measure(sample, own_strata, seconds / len(kinds), check)
    for stratum in strata.values():
        _add(by_kind[stratum.units[0][0].kind], stratum)
    return list(by_kind.values())


def together(found: Sequence[Estimate], workers: int) -> Estimate:
    """All kinds: what is not timed is spread over so many workers."""
    whole = Estimate("", sum(one.cases for one in found))
    for one in found:
        share = 1 if KINDS[one.kind].timed else workers
        whole.seconds += one.seconds / share
        whole.variance += one.variance / share**2
        whole.unknown += one.unknown
    return whole


def _alike(case: Case) -> tuple[object, ...]:
    kind = KINDS[case.kind]
    names = ("subject", "layer") if kind.timed else ("model",) if kind.has_trials else ("d",)
    return case.kind, *(getattr(case, name, None) for name in names)


def _measure(
    sample: _Sample, strata: Sequence[_Stratum], seconds: float, check: Callable[[], None]
) -> None:
    """One unit of each stratum in turn, the largest first, until the time is over."""
    ends = time.monotonic() + seconds
    while any(stratum.next_unit() for stratum in strata):
        for stratum in reversed(strata):
            unit = stratum.next_unit()
            if unit is None:
                continue
            if time.monotonic() > ends and strata[-1].taken:
                return
            check()
            stratum.taken.append(sample.seconds(unit))


def _add(to: Estimate, stratum: _Stratum) -> None:
    count, n = len(stratum.units), len(stratum.taken)
    size = len(stratum.units[0])
    to.sampled += n * size
    if not n:
        to.unknown += count * size
        return
    mean = statistics.fmean(stratum.taken)
    # Of one alone it is not known how others differ: as much as it takes is a usual amount.
    spread = statistics.variance(stratum.taken) if n > 1 else mean**2
    to.seconds += count * mean
    to.variance += count**2 * spread / n * (1 - n / count)


STEPS = 4
"""Of a training that is measured; the first one, which is slower, does not count."""


class _Sample:
    """Measures units of cases, and keeps nothing of it but the time."""

    def __init__(self, suite: Suite, plan: Sequence[Case]) -> None:
        self._suite = suite
        self._place = Place(Job(suite=suite, folder=Path()), plan)
        self._warm: set[str] = set()

    def seconds(self, unit: list[Case]) -> float:
        """How long it takes to measure a unit; of the first of a kind, the second time."""
        if isinstance(unit[0], TrainCase):
            return self._training(unit[0])
        times = []
        repeated = unit[0].kind not in self._warm and not KINDS[unit[0].kind].timed
        self._warm.add(unit[0].kind)
        for _ in range(1 + repeated):
            started = time.perf_counter()
            for case in unit:
                self._place.batch([case])
            times.append(time.perf_counter() - started)
        return times[-1]

    def _training(self, case: TrainCase) -> float:
        """Its steps at the pace of a few; a pass over an image without gradient is a third."""
        from eigbench.measure.trial import VALIDATION_SHARE, image_sets

        assert self._suite.training is not None  # noqa: S101  # a suite that trains has one
        images = image_sets(self._suite.training)
        validated = round(VALIDATION_SHARE * len(images.train))
        by_epoch = (len(images.train) - validated) // case.batch
        steps = min(case.steps or math.inf, case.epochs * by_epoch)
        short = msgspec.structs.replace(case, steps=STEPS)
        record: Record = self._place.batch([short]).records[0]
        pace = record.values("step_seconds")[1:]
        if not pace:  # it broke at once
            return record.elapsed_seconds
        tested = math.ceil(steps / by_epoch) * validated + len(images.test)
        return statistics.median(pace) * (steps + tested / case.batch / 3)
