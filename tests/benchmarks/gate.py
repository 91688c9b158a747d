"""The regression gate: a benchmark is timed beside its reference and compared with its baseline.

docs/regression-gate.md says how it is used, and what it can see.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from eigbench.measure.timing import Clock, Contestant, Times, interleave
from eigbench.report.stats import (
    RATIO_BETWEEN_RUNS,
    RATIO_SHARE,
    Floats,
    Interval,
    Level,
    between_runs,
    decide,
    level,
)
from eigbench.runs.store import write_whole

BASELINE = Path(__file__).with_name("baseline.json")
ACCEPT = "nox -s bench -- --accept-baseline"
METHODS = ("eigh", "svd", "pi", "hybrid", "hybrid-loop", "spectral", "svd-released")
"""Guarded methods. Each takes CI some four seconds, and needs a baseline (`--accept-baseline`)."""
METHOD_TEST = "test_method_beside_torch_eigh"
"""The benchmark that is made for each of them."""

SLOWDOWN = 1.15
"""What the gate is meant to catch."""
PROCESSES = 5
"""An entry of the baseline keeps the last so many runs, each of a process of its own."""
ELSEWHERE = 0.1
"""Standard deviation of the logarithm of a ratio between two processors or versions of torch, where
ratios differ without any fault. At the place of the baseline it is `RATIO_BETWEEN_RUNS`."""
ROUNDS = 1001
SECONDS = 2.0
"""Several hundred rounds of what takes a few milliseconds."""
PATIENCE = 3
"""How many times longer than on an idle machine the rounds may take."""
PAUSE_SECONDS = 10.0
"""Before an alarm's last measurement, so that a short disturbance passes."""
RECORDED_SECONDS = 0.2
"""For the absolute times in the record of pytest-benchmark, by which nothing is judged."""

Call = Callable[[], object]
Seconds = Callable[[], float]
"""A clock: only differences mean anything."""


@dataclass(frozen=True)
class Rounds:
    """Seconds of a call and of its reference, one value a round `(rounds,)`."""

    first: Floats
    second: Floats

    @property
    def ratios(self) -> Floats:
        """first/second of each round `(rounds,)`."""
        return self.first / self.second


def time_beside(
    first: Call, second: Call, clock: Seconds, seconds: float, rounds: int = ROUNDS
) -> Rounds:
    """Time both in turn until they have taken `seconds` of `clock`, in at most `rounds` rounds.

    Rounds also end when three times as many seconds have passed on the wall. Whatever one of the
    calls raises is raised.
    """
    worked, passed = clock(), time.perf_counter()

    def now() -> float:
        return max(clock() - worked, (time.perf_counter() - passed) / PATIENCE)

    def contestant(call: Call) -> Contestant:
        return Contestant(prepare=tuple, passes={"run": lambda _: call()})

    own = Clock("process", clock, lambda: None, lambda earlier, later: later - earlier)
    contestants = {"first": lambda: contestant(first), "second": lambda: contestant(second)}
    _, outcomes = interleave(contestants, own, rounds, seconds, now)
    found = []
    for outcome in (outcomes["first"], outcomes["second"]):
        if not isinstance(outcome, Times):
            raise outcome
        found.append(np.array(outcome.seconds["run"]))
    return Rounds(*found)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio of one measurement, its 95 % interval, and how many rounds it is of."""

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
    def level(self) -> Level | None:
        """Of the logarithm of the ratio in a further process; None of fewer than two."""
        found = level(np.log([run.ratio for run in self.runs]))
        return found and found.moved(1)

    @property
    def ratio(self) -> float:
        """The geometric mean over processes."""
        return math.exp(np.mean(np.log([run.ratio for run in self.runs])))

    def __str__(self) -> str:
        ratios = [run.ratio for run in self.runs]
        return f"{self.ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def logarithm(ratios: Floats) -> Level:
    """The level of the logarithm of ratios `(rounds,)`; `ValueError` where a time is 0."""
    found = level(np.log(ratios)) if (ratios > 0).all() else None
    if found is None:
        raise ValueError("a call took no time by the clock that it is judged by")
    return found


def estimate(ratios: Floats) -> Estimate:
    """The ratio and its interval."""
    found = between_runs([Level(0.0, 0.0, 1)], [logarithm(ratios)], 0).exponential
    return Estimate(ratio=found.value, low=found.low, high=found.high, pairs=len(ratios))


def slower(now: Level, entry: Entry, where: str, asked: int) -> bool:
    """Whether a ratio is above its baseline, asked together with those of `asked` benchmarks.

    The others are taken for unchanged, which is the strictest that the correction can be: each
    benchmark is judged as soon as it is measured.
    """
    allowance = RATIO_BETWEEN_RUNS if where == entry.where else ELSEWHERE
    before = entry.level
    if before is None:
        return False
    found = between_runs([before], [now.moved(RATIO_SHARE)], allowance)
    return decide([found, *[Interval(0.0, p=1.0)] * (asked - 1)])[0].answer == "higher"


def visible(now: Level, entry: Entry, where: str, asked: int) -> float:
    """The least slow-down, to a hundredth, that the gate would see in such a measurement."""
    before = entry.level
    levels = ((f, Level(before.value + math.log(f), now.variance, now.freedom))
              for f in np.arange(1.01, 10, 0.01) if before)  # fmt: skip
    return next((f for f, one in levels if slower(one, entry, where, asked)), math.inf)


@dataclass(frozen=True)
class Verdict:
    """What the gate found for one benchmark."""

    estimates: tuple[Estimate, ...]
    """Every measurement that was taken: more than one where the first was slower."""
    outcome: str
    """"held", "slower", "disturbed" (slower, and then not), "no baseline" or "accepted"."""
    alarm: str | None = None
    """Why the gate fails, or None where it does not."""
    visible: float = 1.0
    """The least slow-down that would have been seen."""


@dataclass(frozen=True)
class Gate:
    """Called once by a test, with what is benchmarked and its reference of the same kind."""

    name: str
    benchmark: Any
    where: str
    path: Path
    accepting: bool
    verdicts: dict[str, Verdict]
    asked: int = 1
    """How many benchmarks this session judges."""
    sleep: Callable[[float], None] = time.sleep

    def __call__(
        self, first: Call, second: Call, *, seconds: float = SECONDS,
        clock: Seconds = time.process_time,
    ) -> None:  # fmt: skip
        """Time both in turn, `seconds` of CPU time, and compare their ratio with the baseline.

        A ratio that is slower is measured again for twice as long, and once more after a pause:
        a slower program is still slower, a disturbed machine seldom is.
        """
        taken: list[Rounds] = []

        def measure(factor: int) -> Level:
            rounds = time_beside(first, second, clock, seconds * factor, ROUNDS * factor)
            taken.append(rounds)
            return logarithm(rounds.ratios)

        verdict = self._judged(measure, taken)
        self.verdicts[self.name] = verdict
        record(self.benchmark, first, taken[0], verdict)
        if verdict.alarm is not None:
            pytest.fail(verdict.alarm, pytrace=False)

    def _judged(self, measure: Callable[[int], Level], taken: list[Rounds]) -> Verdict:
        found = measure(1)
        if self.accepting:
            accept(self.name, estimate(taken[0].ratios), self.where, self.path)
            return Verdict((estimate(taken[0].ratios),), "accepted")
        entry = read(self.path).get(self.name)
        if entry is None:
            one = estimate(taken[0].ratios)
            alarm = f"{self.name} has no baseline (measured: {one}). Add it with\n"
            return Verdict((one,), "no baseline", alarm + _accepting(self.name))
        least = visible(found, entry, self.where, self.asked)
        outcome = "held"
        for attempt in ("first", "at once", "later"):
            if attempt == "later":
                self.sleep(PAUSE_SECONDS)
            if attempt != "first":
                found, outcome = measure(2), "disturbed"
            if not slower(found, entry, self.where, self.asked):
                estimates = tuple(estimate(one.ratios) for one in taken)
                return Verdict(estimates, outcome, visible=least)
        estimates = tuple(estimate(one.ratios) for one in taken)
        alarm = _slower(self.name, estimates, entry, self.where)
        return Verdict(estimates, "slower", alarm, least)


def record(benchmark: Any, first: Call, rounds: Rounds, verdict: Verdict | None = None) -> None:
    """Keep everything in the record of pytest-benchmark, and a few absolute times of `first`."""
    info = benchmark.extra_info
    info["first_seconds"], info["second_seconds"] = rounds.first.tolist(), rounds.second.tolist()
    info["ratio"] = float(np.median(rounds.ratios))
    if verdict is not None:
        info["outcome"] = verdict.outcome
        info["estimates"] = [[one.low, one.ratio, one.high] for one in verdict.estimates]
    wanted = round(RECORDED_SECONDS / max(float(rounds.first.min()), 1e-9))
    benchmark.pedantic(first, rounds=min(max(wanted, 3), 100))


def read(path: Path = BASELINE) -> dict[str, Entry]:
    """The entries by benchmark; none if there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry]) if path.exists() else {}


def accept(name: str, one: Estimate, where: str, path: Path = BASELINE) -> None:
    """Add this process's estimate to the entry of `name`; one of another place is replaced."""
    entries = read(path)
    before = entries.get(name)
    runs = before.runs if before is not None and before.where == where else []
    entries[name] = Entry(where=where, runs=[*runs, one][-PROCESSES:])
    content = msgspec.json.encode(dict(sorted(entries.items())))
    write_whole(path, msgspec.json.format(content, indent=1) + b"\n")


def _accepting(name: str) -> str:
    return f"    {ACCEPT} -k '{selecting(name)}'\nand commit tests/benchmarks/baseline.json."


def _slower(name: str, estimates: Sequence[Estimate], entry: Entry, where: str) -> str:
    lines = [
        f"{name} became slower beside its reference: {estimates[-1].ratio / entry.ratio:.2f} times",
        f"    baseline  {entry}, of {len(entry.runs)} processes",
        *(f"    now       {one}, of {one.pairs} rounds" for one in estimates),
    ]
    if where != entry.where:
        lines += [f"The baseline is from another place:\n    baseline  {entry.where}",
                  f"    now       {where}"]  # fmt: skip
    return "\n".join([*lines, "If this is meant, accept it with", _accepting(name)])


def selecting(name: str) -> str:
    """What `pytest -k` takes to run the benchmark `name` (`file.py::test[parameters]`)."""
    test, _, parameters = name.partition("::")[2].rstrip("]").partition("[")
    return f"{test} and {parameters}" if parameters else test


def guarded(benchmarks: Iterable[str]) -> set[str]:
    """The methods of which benchmarks, `file.py::test[method-1x64x64]`, are among these."""
    of_methods = (name for name in benchmarks if f"::{METHOD_TEST}[" in name)
    return {name.partition("[")[2].rpartition("-")[0] for name in of_methods}
