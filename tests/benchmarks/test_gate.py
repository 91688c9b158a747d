"""The gate's rule, words and baseline, with a clock that stands still between ticks of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eigbench.methods import available
from tests.benchmarks import baseline, gate, gating, guarded
from tests.benchmarks.fakes import FakeBenchmark, FakeClock
from tests.benchmarks.gate import MARGIN, MARGIN_ELSEWHERE, Entry, Estimate, Verdict
from tests.benchmarks.gating import Gate

NAME = "test_regression.py::test_method[hybrid-1x64x64]"
HERE = "a processor, 2 cores, torch 2, Python 3"


def estimate(ratio: float, width: float = 0.01) -> Estimate:
    return Estimate(ratio=ratio, low=ratio * (1 - width), high=ratio * (1 + width), pairs=300)


def entry(*ratios: float, where: str = HERE) -> Entry:
    return Entry(where=where, runs=[estimate(ratio) for ratio in ratios])


@dataclass
class Measured:
    """Gives these estimates one after the other, and remembers what was asked for."""

    estimates: list[Estimate]
    asked: list[str] = field(default_factory=list)

    def __call__(self, factor: int) -> Estimate:
        self.asked.append(f"measure {factor}")
        return self.estimates.pop(0)

    def pause(self) -> None:
        self.asked.append("pause")


def judge(
    known: Entry | None, *ratios: float, where: str = HERE, width: float = 0.01
) -> tuple[Verdict, list[str]]:
    measured = Measured([estimate(ratio, width) for ratio in ratios])
    verdict = gate.judge(NAME, measured, known, where, measured.pause)
    assert measured.estimates == []
    return verdict, measured.asked


BASE = entry(2.0, 2.02, 1.98)


def test_an_unchanged_ratio_is_measured_once_and_held() -> None:
    verdict, asked = judge(BASE, 2.01)
    assert (verdict.outcome, verdict.alarm) == ("held", None)
    assert asked == ["measure 1"]


def test_a_slowdown_that_persists_is_an_alarm() -> None:
    verdict, asked = judge(BASE, 2.3, 2.3, 2.3)
    assert verdict.outcome == "worse"
    assert verdict.alarm is not None
    assert asked == ["measure 1", "measure 2", "pause", "measure 2"]


@pytest.mark.parametrize(
    ("ratios", "asked"),
    [
        ((2.3, 2.0), ["measure 1", "measure 2"]),
        ((2.3, 2.3, 2.0), ["measure 1", "measure 2", "pause", "measure 2"]),
    ],
)
def test_a_disturbance_that_passes_is_none(ratios: tuple[float, ...], asked: list[str]) -> None:
    verdict, did = judge(BASE, *ratios)
    assert (verdict.outcome, verdict.alarm) == ("disturbed", None)
    assert did == asked
    assert [estimate.ratio for estimate in verdict.estimates] == list(ratios)


def test_faster_is_no_alarm() -> None:
    assert judge(BASE, 0.5)[0].alarm is None


def test_an_interval_that_reaches_the_limit_proves_nothing() -> None:
    above = BASE.limit(HERE) * 1.02
    assert judge(BASE, above, width=0.03)[0].outcome == "held"
    assert judge(BASE, above, above, above, width=0.01)[0].outcome == "worse"


def test_the_limit_is_above_the_highest_by_a_margin_and_half_the_spread() -> None:
    assert (BASE.low, BASE.ratio, BASE.high) == (1.98, 2.0, 2.02)
    assert BASE.spread == pytest.approx(2.02 / 1.98 - 1)
    assert BASE.limit(HERE) == pytest.approx(2.02 * (MARGIN + 0.01 / 0.99))
    assert entry(2.0).limit(HERE) == pytest.approx(2.0 * MARGIN)


def test_what_is_visible_is_worse_and_what_is_not_is_held() -> None:
    for known in (BASE, entry(2.0, 2.5, 3.0)):
        more, less = known.ratio * known.visible * 1.001, known.ratio * known.visible * 0.999
        assert judge(known, more, more, more)[0].outcome == "worse"
        assert judge(known, less)[0].outcome == "held"


def test_a_ratio_that_spreads_as_measured_shows_the_slowdown() -> None:
    # Between processes 4 %, by an interval of 2 % either way.
    known = Entry(where=HERE, runs=[estimate(ratio, 0.02) for ratio in (1.0, 1.02, 1.04)])
    assert known.visible <= gate.SLOWDOWN
    assert entry(1.0, 1.06, 1.14).visible > gate.SLOWDOWN


def test_elsewhere_the_margin_is_wider_and_the_message_says_so() -> None:
    there = "another processor"
    assert judge(BASE, 2.8, where=there)[0].outcome == "held"
    alarm = judge(BASE, 3.5, 3.5, 3.5, where=there)[0].alarm
    assert alarm is not None
    assert f"the margin is {MARGIN_ELSEWHERE} instead of {MARGIN}" in alarm
    assert HERE in alarm
    assert there in alarm


def test_the_message_says_what_was_and_is_and_how_to_accept_it() -> None:
    assert judge(BASE, 2.3, 2.31, 2.32)[0].alarm == (
        f"{NAME} became slower beside its reference: 1.16 times\n"
        "    baseline  2.000 [1.980, 2.020], of 3 processes\n"
        "    now       2.300 [2.277, 2.323], of 300 pairs\n"
        "    now       2.310 [2.287, 2.333], of 300 pairs\n"
        "    now       2.320 [2.297, 2.343], of 300 pairs\n"
        "    allowed   up to 2.101\n"
        "If this is meant, accept it with\n"
        "    nox -s bench -- --accept-baseline -k 'test_method and hybrid-1x64x64'\n"
        "and commit tests/benchmarks/baseline.json."
    )


def test_no_baseline_fails_and_says_how_to_add_one() -> None:
    verdict, asked = judge(None, 2.0)
    assert verdict.outcome == "no baseline"
    assert verdict.alarm is not None
    assert verdict.alarm.startswith(f"{NAME} has no baseline (measured: 2.000 [1.980, 2.020])")
    assert "nox -s bench -- --accept-baseline -k 'test_method and hybrid-1x64x64'" in verdict.alarm
    assert asked == ["measure 1"]


@pytest.mark.parametrize(
    ("name", "selection"),
    [
        ("test_a.py::test_b", "test_b"),
        ("test_a.py::test_b[c]", "test_b and c"),
        ("test_a.py::test_b[1-64-1.4]", "test_b and 1-64-1.4"),
    ],
)
def test_a_benchmark_is_selected_by_its_name(name: str, selection: str) -> None:
    assert gate.selecting(name) == selection


def test_accepting_keeps_one_estimate_a_process_and_the_last_few(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert baseline.read(path) == {}
    ratios = [2.0 + 0.01 * process for process in range(baseline.PROCESSES + 2)]
    for ratio in ratios:
        baseline.accept(NAME, estimate(ratio), HERE, path)
    baseline.accept("another", estimate(1.0), HERE, path)
    known = baseline.read(path)
    assert [run.ratio for run in known[NAME].runs] == ratios[2:]
    assert known["another"] == entry(1.0)


def test_a_baseline_of_another_place_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline.accept(NAME, estimate(2.0), "elsewhere", path)
    baseline.accept(NAME, estimate(3.0), HERE, path)
    assert baseline.read(path) == {NAME: entry(3.0)}


@pytest.mark.parametrize("method", guarded.METHODS)
def test_every_guarded_method_has_a_baseline(method: str) -> None:
    assert method in available()
    assert method in guarded.named(baseline.read()), guarded.how_to_guard(method)


def test_what_has_a_baseline_is_guarded() -> None:
    dead = guarded.named(baseline.read()) - set(guarded.METHODS)
    assert not dead, f"add them to guarded.METHODS, or take them out of {baseline.FILE.name}"


def test_methods_of_benchmarks() -> None:
    names = [f"test_regression.py::{guarded.TEST}[svd-newton-64x16x16]", "test_a.py::test_b[c-1]"]
    assert guarded.named([*names, "test_a.py::test_b"]) == {"svd-newton"}


def test_what_is_not_guarded_is_said_and_how_it_would_be() -> None:
    assert guarded.left_out(["hybrid"]) == []
    assert guarded.left_out(["hybrid", "mine", "other"]) == [
        "not guarded: mine, other",
        "To guard mine, add it to METHODS in tests/benchmarks/guarded.py, run",
        "    nox -s bench -- --accept-baseline -k 'test_method_beside_torch_eigh and mine'",
        "and commit tests/benchmarks/baseline.json.",
    ]


def gate_at(path: Path, clock: FakeClock, *, accepting: bool = False) -> Gate:
    def sleep(seconds: float) -> None:
        clock.calls.append(f"sleep {seconds:.0f}")

    return Gate(NAME, FakeBenchmark(), HERE, path, accepting, {}, clock, sleep)


def run(
    path: Path, *first_seconds: float, accepting: bool = False, unit: float = 1.0
) -> tuple[Gate, list[str]]:
    """The gate, as a test calls it, on a callable that takes so many units beside one of 1."""
    clock = FakeClock()
    judging = gate_at(path, clock, accepting=accepting)
    first = clock.taking("a", *(seconds * unit for seconds in first_seconds))
    second = clock.taking("b", unit)
    try:
        assert judging(first, second, seconds=100.0, cpu=clock).ratio > 0
    finally:
        asked = [call for call in clock.calls if call.startswith("sleep")]
    return judging, asked


def test_the_gate_accepts_and_then_holds(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    judging, _ = run(path, 2.0, accepting=True)
    assert judging.verdicts[NAME].outcome == "accepted"
    assert baseline.read(path)[NAME].ratio == 2.0
    judging, _ = run(path, 2.05)
    assert judging.verdicts[NAME].outcome == "held"
    info = judging.benchmark.extra_info
    assert info["cpu_ratio"] == info["wall_ratio"] == pytest.approx(2.05)
    assert info["outcome"] == "held"
    assert info["first_cpu_seconds"] == pytest.approx([2.05] * len(info["first_cpu_seconds"]))


def test_the_gate_fails_the_test_and_measures_twice_more_for_that(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    run(path, 2.0, accepting=True)
    with pytest.raises(pytest.fail.Exception, match=r"became slower .* 1\.15 times"):
        run(path, 2.3)


def test_the_gate_forgives_what_passes(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    run(path, 2.0, accepting=True)
    # As many calls as the first measurement has, warm-up included: 5 and 100/3.3.
    judging, slept = run(path, *[2.3] * 36, 2.0)
    verdict = judging.verdicts[NAME]
    assert verdict.outcome == "disturbed"
    assert [estimate.ratio for estimate in verdict.estimates] == pytest.approx([2.3, 2.0])
    assert verdict.estimates[1].pairs > 2 * verdict.estimates[0].pairs
    assert slept == []


def test_short_calls_are_judged_by_thousands_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    run(path, 2.0, accepting=True, unit=1e-3)
    with pytest.raises(pytest.fail.Exception, match=rf"of {2 * gating.PAIRS} pairs"):
        run(path, 2.3, unit=1e-3)


def test_a_benchmark_without_a_baseline_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="has no baseline"):
        run(tmp_path / "baseline.json", 2.0)


def test_the_last_measurement_waits(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    run(path, 2.0, accepting=True)
    judging, slept = run(path, *[2.3] * 110, 2.0)
    assert judging.verdicts[NAME].outcome == "disturbed"
    assert len(judging.verdicts[NAME].estimates) == 3
    assert slept == [f"sleep {gating.PAUSE_SECONDS:.0f}"]
