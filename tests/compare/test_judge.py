"""The whole: what is refused, what only one run has, what is partial; nothing can be changed."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
import pytest

from eigbench.compare import compare
from eigbench.compare.judge import compare_runs
from eigbench.compare.model import Comparison
from eigbench.errors import InputError
from eigbench.kinds.profile import ProfileCase
from eigbench.report.stats import RATIO_BETWEEN_RUNS
from eigbench.runs.store import Environment, Run
from eigbench.runs.suite import cases
from tests.compare.making import Factors, compared, here, profile_suite, profiles, write
from tests.report import trainings
from tests.runs.making import finish, suite

SUITE = profile_suite()
SAMPLES = Path(__file__).parents[2] / "reports"
GOLDEN = Path(__file__).parents[1] / "report" / "golden" / "run"


def test_a_run_against_itself_shows_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", SUITE, profiles(SUITE, 1))
    found = compare(folder, folder)
    assert found.environment == {}
    assert found.regressions == ()
    assert all(effect.change == 1 for case in found.cases for effect in case.effects)


@pytest.mark.parametrize("run", [GOLDEN, SAMPLES / "train-short", SAMPLES / "paper-table2"])
def test_recorded_runs_are_like_themselves(run: Path) -> None:
    found = compare(run, run)
    references = {id(case) for case in found.cases if getattr(case.case, "is_reference", False)}
    judged = {case.verdict for case in found.cases if id(case) not in references}
    assert judged <= {"equal", "no difference shown"}
    # The time of a reference is that of the machine.
    assert {case.verdict for case in found.cases if id(case) in references} <= {"not judged"}
    assert (found.a.missing, found.b.missing) == (0, 0)
    assert found.a.only == found.b.only == ()


def test_the_other_way_round_it_is_the_other_way_round() -> None:
    a, b = profiles(SUITE, 1), profiles(SUITE, 2, lambda c, _: 2.0 if c.method == "hybrid" else 1.0)
    there, back = compared(a, b, SUITE), compared(b, a, SUITE)
    assert len(there.regressions) == 2
    assert len(back.regressions) == 0
    for one, other in zip(there.cases, back.cases, strict=True):
        assert one.effects[0].change == pytest.approx(1 / other.effects[0].change)
        assert one.effects[0].low == pytest.approx(1 / other.effects[0].high)
        assert one.effects[0].p == pytest.approx(other.effects[0].p, nan_ok=True)


def test_cases_of_one_run_alone_are_counted() -> None:
    a, b = profiles(SUITE, 1), profiles(SUITE, 2)
    found = compared(a[:-1], b[1:], SUITE)
    assert len(found.cases) == len(a) - 2
    assert [case.name for case in found.a.only] == ["torch.linalg.eigh, d = 16"]
    assert [case.name for case in found.b.only] == ["hybrid, d = 64"]
    assert found.b.only[0].ids == (b[-1].id,)


def test_the_order_of_records_does_not_matter() -> None:
    a, b = profiles(SUITE, 1), profiles(SUITE, 2, lambda _c, name: 2.0 if name == "forward" else 1)
    straight, mixed = compared(a, b, SUITE), compared(a, b[::-1], SUITE)
    assert straight.cases == mixed.cases


def test_nothing_in_common_is_one_clear_line(tmp_path: Path) -> None:
    a = write(tmp_path / "a", SUITE, profiles(SUITE, 1))
    finish(tmp_path / "b", suite())
    with pytest.raises(InputError) as error:
        compare(a, tmp_path / "b")
    said = str(error.value)
    assert "no case in common" in said
    assert "6 of kind profile in the first" in said
    assert "4 of kind stability in the second" in said
    assert "\n" not in said


def test_a_run_without_records_is_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", SUITE, profiles(SUITE, 1))
    b = write(tmp_path / "b", SUITE, [])
    with pytest.raises(InputError, match="b holds no records yet"):
        compare(a, b)
    with pytest.raises(InputError, match="b holds no records yet"):
        compare(b, a)


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_a_threshold_that_is_none(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        compare(tmp_path, tmp_path, threshold)


@pytest.mark.parametrize("kept", [26, 33])
def test_missing_cases_are_those_of_the_plan(tmp_path: Path, kept: int) -> None:
    """Whatever a report says: one of an earlier state may lie in the folder, or none."""
    of = trainings.suite()
    records = [trainings.record(case) for case in cases(of)]
    trainings.write(tmp_path / "a", of, records[:kept])
    (tmp_path / "a" / "report.md").write_text("A report without a word of what is missing.")
    assert compare(tmp_path / "a", tmp_path / "a").a.missing == len(records) - kept


def test_a_comparison_cannot_be_changed() -> None:
    found = compared(profiles(SUITE, 1), profiles(SUITE, 2), SUITE)
    with pytest.raises(AttributeError):
        found.tests = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        found.cases[0].effects[0].p = 0.0  # type: ignore[misc]


def test_nothing_in_the_folders_is_changed(tmp_path: Path) -> None:
    a = write(tmp_path / "a", SUITE, profiles(SUITE, 1))
    b = write(tmp_path / "b", SUITE, profiles(SUITE, 2))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    compare(a, b)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after


def test_the_number_of_tests_raises_the_bar() -> None:
    """The same small change is shown alone, and not among many that did not change."""
    few, many = profile_suite(d=[16]), profile_suite(d=[16, *range(100, 130)])

    def factors(case: object, _name: str) -> float:
        return 1.09 if (getattr(case, "method", ""), getattr(case, "d", 0)) == ("hybrid", 16) else 1

    alone = compared(profiles(few, 1), profiles(few, 2, factors), few)
    among = compared(profiles(many, 1), profiles(many, 2, factors), many)
    assert among.tests == 31 * alone.tests
    one, other = (found.cases[2].effects[0] for found in (alone, among))
    assert one.change == other.change  # the same rounds
    assert one.answer == "slower"
    assert other.answer == "no difference shown"
    assert msgspec.structs.replace(one, answer="slower").p == other.p


METHODS = profile_suite(method=["eigh", "svd", "hybrid", "spectral"])
JUDGED = 8
"""Cases, with three tests each: all of a run, its forward pass, its backward."""

SLOW = "hybrid, d = 64"


def run(seed: int, factors: Factors, scatter: float, rounds: int) -> Run:
    records = profiles(
        METHODS, seed, factors, between_runs=RATIO_BETWEEN_RUNS, scatter=scatter, rounds=rounds
    )
    return Run(METHODS, Environment(schema=1, sessions=[here()]), records)


def pair_of(pair: int, factors: Factors, scatter: float = 0.03, rounds: int = 51) -> Comparison:
    a = run(2 * pair, lambda _case, _name: 1.0, scatter, rounds)
    b = run(2 * pair + 1, factors, scatter, rounds)
    return compare_runs(("a", a), ("b", b), 0.05)


@pytest.mark.parametrize(("scatter", "rounds"), [(0.03, 51), (0.3, 51), (0.03, 5)])
def test_unchanged_code_raises_an_alarm_in_no_more_than_one_comparison_in_twenty(
    scatter: float, rounds: int
) -> None:
    """On a machine that drifts, quiet or loaded, with many rounds or the fewest.

    Of 200 comparisons each, 9, 0 and 4 showed a difference, and 4, 0 and 1 a regression.
    """
    comparisons = [pair_of(pair, lambda _case, _name: 1.0, scatter, rounds) for pair in range(60)]
    assert {found.tests for found in comparisons} == {3 * JUDGED}
    shown = sum(
        any(case.verdict in {"worse", "better", "mixed"} for case in found.cases)
        for found in comparisons
    )
    alarms = sum(bool(found.regressions) for found in comparisons)
    assert shown <= 6  # 3 and two standard deviations
    assert alarms <= 4


def slow(case: ProfileCase, _name: str) -> float:
    return 1.15 if (case.method, case.d) == ("hybrid", 64) else 1.0


@functools.cache
def slowed() -> list[Comparison]:
    return [pair_of(pair, slow) for pair in range(40)]


def test_a_slow_down_of_15_per_cent_is_caught() -> None:
    """Where a ratio differs by 2 % from run to run by itself, which is twice a quiet machine's."""
    caught = [[case.name for case in found.regressions] for found in slowed()]
    assert sum(SLOW in names for names in caught) >= 37
    assert sum(len(names) for names in caught) <= 40 + 6  # and seldom another with it


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = total = 0
    for case in (case for found in slowed() for case in found.cases):
        effect = case.effects[0]
        if effect.relative_to is not None and effect.answer != "not judged":
            assert isinstance(case.case, ProfileCase)
            held += effect.low <= slow(case.case, "") <= effect.high
            total += 1
    assert total == 40 * JUDGED
    assert 0.92 <= held / total <= 0.98
