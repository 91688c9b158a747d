"""The gate's rule, words and baseline, with a clock that stands still between ticks of our own."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import eigbench
from eigbench.methods import available
from eigbench.report.stats import Level
from tests.benchmarks import gate
from tests.benchmarks.bars import IDLE, Bar
from tests.benchmarks.gate import METHOD_TEST, METHODS, SLOWDOWN, Entry, Estimate, Gate
from tests.benchmarks.problems import covariances, forward_and_backward, torch_eigh

NAME = "test_regression.py::test_method[hybrid-1x64x64]"
HERE = "a processor, 2 cores, torch 2, Python 3"


def estimate(ratio: float) -> Estimate:
    return Estimate(ratio=ratio, low=ratio * 0.99, high=ratio * 1.01, pairs=300)


def entry(*ratios: float, where: str = HERE) -> Entry:
    return Entry(where=where, runs=[estimate(ratio) for ratio in ratios])


def now(ratio: float, error: float = 0.005) -> Level:
    return Level(float(np.log(ratio)), error**2, 9)


BASE = entry(2.0, 2.02, 1.98, 2.01, 1.99)


class FakeClock:
    """Time passes only where a call says so, in hundredths of a second.

    Of whole seconds the garbage collection between rounds would take all the time of these tests.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = ""

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, *hundredths: float) -> Callable[[], None]:
        """A callable that takes so long, one call after the other, then the last again."""
        left = [one / 100 for one in hundredths]

        def call() -> None:
            self.calls += name
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


class FakeBenchmark:
    """What of pytest-benchmark's fixture is used."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, call: Callable[[], object], rounds: int) -> None:
        """Nothing is timed."""


@pytest.fixture(autouse=True)
def no_patience_is_lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wall's clock stands still: a busy machine ends no measurement of these tests.

    And the garbage that is collected between rounds is that of the test alone.
    """
    monkeypatch.setattr(gate, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    gc.freeze()
    yield
    gc.unfreeze()


def test_rounds_belong_to_the_call_that_took_them() -> None:
    clock = FakeClock()
    found = gate.time_beside(clock.taking("a", 3.0), clock.taking("b", 2.0), clock, 1e9, rounds=4)
    assert found.first == pytest.approx([0.03] * 4)
    assert found.second == pytest.approx([0.02] * 4)
    assert clock.calls[-8:].count("a") == 4  # in turn


def test_it_stops_when_the_work_is_done() -> None:
    clock = FakeClock()
    found = gate.time_beside(clock.taking("a", 1.0), clock.taking("b", 1.0), clock, seconds=0.4)
    assert 18 <= len(found.first) <= 22


def test_what_a_call_raises_is_raised() -> None:
    def broken() -> None:
        raise RuntimeError("no such matrix")

    with pytest.raises(RuntimeError, match="no such matrix"):
        gate.time_beside(broken, lambda: None, FakeClock(), 1)


def test_a_call_that_takes_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time by the clock"):
        gate.logarithm(np.array([1.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ("ratio", "alarm"), [(2.0, False), (1.0, False), (2.1, False), (2.3, True)]
)
def test_a_slow_down_of_15_per_cent_is_slower_and_what_is_faster_is_not(
    ratio: float, alarm: bool
) -> None:
    assert gate.slower(now(ratio), BASE, HERE, asked=30) is alarm


def test_the_more_benchmarks_the_larger_the_difference_must_be() -> None:
    few, many = (gate.visible(now(2.0), BASE, HERE, asked) for asked in (1, 100))
    assert 1.05 < few < many < SLOWDOWN


def test_a_baseline_whose_processes_differ_shows_less() -> None:
    noisy = entry(2.0, 2.2, 1.8, 2.1, 1.9)
    assert gate.visible(now(2.0), noisy, HERE, 30) > gate.visible(now(2.0), BASE, HERE, 30)
    assert not gate.slower(now(2.3), noisy, HERE, 30)


def test_an_uncertain_measurement_proves_nothing() -> None:
    assert not gate.slower(now(2.3, error=0.1), BASE, HERE, 30)


def test_elsewhere_a_larger_difference_is_needed() -> None:
    assert not gate.slower(now(2.6), BASE, "another processor", 30)
    assert gate.slower(now(4.0), BASE, "another processor", 30)


def test_one_process_is_no_baseline_to_judge_by() -> None:
    assert not gate.slower(now(9.0), entry(2.0), HERE, 1)


def test_unchanged_code_raises_an_alarm_in_fewer_than_one_session_in_twenty() -> None:
    """Processes that differ by 3 %, 30 benchmarks; even without measuring again."""
    draw = np.random.default_rng(0)
    sessions = 0
    for _ in range(150):
        alarms = 0
        for _ in range(30):
            runs = entry(*np.exp(draw.normal(0, 0.03, 5)))
            alarms += gate.slower(now(float(np.exp(draw.normal(0, 0.03)))), runs, HERE, 30)
        sessions += alarms > 0
    assert sessions <= 7


def run(path: Path, *first: float, accepting: bool = False) -> tuple[Gate, list[float]]:
    """The gate, as a test calls it, on a call that takes so long beside one of 1."""
    clock, slept = FakeClock(), list[float]()
    judging = Gate(NAME, FakeBenchmark(), HERE, path, accepting, {}, sleep=slept.append)
    with suppress(pytest.fail.Exception):
        judging(clock.taking("a", *first), clock.taking("b", 1.0), seconds=0.6, clock=clock)
    return judging, slept


def accepted(path: Path) -> Path:
    for ratio in (2.0, 2.02, 1.98, 2.01, 1.99):
        run(path, ratio, accepting=True)
    return path


def test_the_gate_accepts_and_then_holds(tmp_path: Path) -> None:
    path = accepted(tmp_path / "baseline.json")
    assert [one.ratio for one in gate.read(path)[NAME].runs] == pytest.approx(
        [2.0, 2.02, 1.98, 2.01, 1.99]
    )
    judging, slept = run(path, 2.03)
    assert (judging.verdicts[NAME].outcome, slept) == ("held", [])
    info = judging.benchmark.extra_info
    assert (info["outcome"], info["ratio"]) == ("held", pytest.approx(2.03))


def test_a_slow_down_that_persists_is_measured_three_times_and_explained(tmp_path: Path) -> None:
    judging, slept = run(accepted(tmp_path / "baseline.json"), 2.3)
    verdict = judging.verdicts[NAME]
    assert (verdict.outcome, slept) == ("slower", [gate.PAUSE_SECONDS])
    assert verdict.alarm is not None
    first, second, third = (one.pairs for one in verdict.estimates)
    assert second == third > 1.5 * first
    assert verdict.alarm.startswith(
        f"{NAME} became slower beside its reference: 1.15 times\n"
        "    baseline  2.000 (1.980 to 2.020), of 5 processes\n"
        f"    now       2.300 [2.300, 2.300], of {first} rounds\n"
    )
    assert "nox -s bench -- --accept-baseline -k 'test_method and hybrid-1x64x64'" in verdict.alarm


def test_a_disturbance_that_passes_is_none(tmp_path: Path) -> None:
    path = accepted(tmp_path / "baseline.json")
    at_once, _ = run(path, *[2.3] * 23, 2.0)
    later, slept = run(path, *[2.3] * 65, 2.0)
    assert at_once.verdicts[NAME].outcome == later.verdicts[NAME].outcome == "disturbed"
    assert (len(at_once.verdicts[NAME].estimates), len(later.verdicts[NAME].estimates)) == (2, 3)
    assert slept == [gate.PAUSE_SECONDS]


def test_no_baseline_fails_and_says_how_to_add_one(tmp_path: Path) -> None:
    alarm = run(tmp_path / "baseline.json", 2.0)[0].verdicts[NAME].alarm
    assert alarm is not None
    assert alarm.startswith(f"{NAME} has no baseline (measured: 2.000 [2.000, 2.000])")
    assert "--accept-baseline -k 'test_method and hybrid-1x64x64'" in alarm


def test_a_baseline_keeps_the_last_processes_of_one_place(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    for process in range(gate.PROCESSES + 2):
        gate.accept(NAME, estimate(2 + process), "elsewhere", path)
    assert [one.ratio for one in gate.read(path)[NAME].runs] == [4, 5, 6, 7, 8]
    gate.accept(NAME, estimate(3.0), HERE, path)
    assert gate.read(path) == {NAME: entry(3.0)}


def test_guarded_methods_and_baselines_are_the_same() -> None:
    methods = gate.guarded(gate.read())
    assert methods <= set(METHODS), "add them to METHODS, or take them out of baseline.json"
    for method in METHODS:
        assert method in available()
        assert method in methods, "see docs/regression-gate.md"
    assert {len(one.runs) for one in gate.read().values()} == {gate.PROCESSES}


def test_names_of_benchmarks() -> None:
    names = [f"test_regression.py::{METHOD_TEST}[svd-newton-64x16x16]", "test_a.py::test_b[c-1]"]
    assert gate.guarded([*names, "test_a.py::test_b"]) == {"svd-newton"}
    assert gate.selecting("test_a.py::test_b") == "test_b"
    assert gate.selecting("test_a.py::test_b[1-64-1.4]") == "test_b and 1-64-1.4"


@pytest.mark.speed
@pytest.mark.usefixtures("one_thread")
def test_a_real_slow_down_is_caught_and_none_is_not(place: str, tmp_path: Path) -> None:
    """One that is clearly above what the gate says it sees, which depends on the load."""
    hybrid, reference = (
        forward_and_backward(f, covariances(64, 16)) for f in (eigbench.eigh, torch_eigh)
    )

    def judged(call: Callable[[], object], *, accepting: bool = False) -> gate.Verdict:
        path = tmp_path / "baseline.json"
        judging = Gate(NAME, FakeBenchmark(), place, path, accepting, {}, sleep=lambda _: None)
        with suppress(pytest.fail.Exception):
            judging(call, reference, seconds=1.0)
        return judging.verdicts[NAME]

    for _ in range(gate.PROCESSES):
        judged(hybrid, accepting=True)
    before = judged(hybrid)
    assert before.outcome in ("held", "disturbed")
    factor = 1.5 * before.visible

    def slow() -> None:
        start = time.process_time()
        hybrid()
        end = start + factor * (time.process_time() - start)
        while time.process_time() < end:
            pass

    assert judged(slow).outcome == "slower"
    assert judged(hybrid).outcome in ("held", "disturbed")


def bar(ratio: float, others: float) -> None:
    clock = time.perf_counter

    def busy(seconds: float) -> Callable[[], None]:
        def call() -> None:
            end = clock() + seconds
            while clock() < end:
                pass

        return call

    Bar(FakeBenchmark(), lambda: others)(busy(ratio * 1e-3), busy(1e-3), 1.5, seconds=0.01)


def test_a_bar_that_is_missed_fails_on_idle_cores_and_is_skipped_on_busy_ones() -> None:
    bar(1.0, others=0.9)
    with pytest.raises(AssertionError):
        bar(20.0, others=IDLE)
    with pytest.raises(pytest.skip.Exception, match=re.escape("but others took 34% of cores")):
        bar(20.0, others=0.34)
