"""How often a comparison cries wolf, and how often it misses one: simulated, with fixed seeds."""

from __future__ import annotations

import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.report.compare.comparing import compared
from eigbench.report.compare.noise import RATIO_BETWEEN_RUNS
from eigbench.report.compare.result import Comparison
from eigbench.runs.store import Environment, Run
from tests.report.compare.making import Factors, here, profile_suite, profiles

SUITE = profile_suite(method=["eigh", "svd", "hybrid", "spectral"])
JUDGED = 8
"""Cases, with three tests each: all of a run, its forward pass, its backward."""

SLOW = "hybrid, d = 64"


def run(seed: int, factors: Factors, scatter: float, rounds: int) -> Run:
    records = profiles(
        SUITE, seed, factors, between_runs=RATIO_BETWEEN_RUNS, scatter=scatter, rounds=rounds
    )
    return Run(SUITE, Environment(schema=1, sessions=[here()]), records)


def compare(pair: int, factors: Factors, scatter: float = 0.03, rounds: int = 51) -> Comparison:
    a = run(2 * pair, lambda _case, _name: 1.0, scatter, rounds)
    b = run(2 * pair + 1, factors, scatter, rounds)
    return compared(("a", a), ("b", b), 0.05)


@pytest.mark.parametrize(("scatter", "rounds"), [(0.03, 51), (0.3, 51), (0.03, 5)])
def test_unchanged_code_raises_an_alarm_in_no_more_than_one_comparison_in_twenty(
    scatter: float, rounds: int
) -> None:
    """On a machine that drifts, quiet or loaded, with many rounds or the fewest.

    Of 200 comparisons each, 9, 0 and 4 showed a difference, and 4, 0 and 1 a regression.
    """
    comparisons = [compare(pair, lambda _case, _name: 1.0, scatter, rounds) for pair in range(60)]
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


def test_a_slow_down_of_15_per_cent_is_caught() -> None:
    """Where a ratio differs by 2 % from run to run by itself, which is twice a quiet machine's."""
    comparisons = [compare(pair, slow) for pair in range(40)]
    caught = [[case.name for case in found.regressions] for found in comparisons]
    assert sum(SLOW in names for names in caught) >= 37
    assert sum(len(names) for names in caught) <= 40 + 6  # and seldom another with it


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = total = 0
    for pair in range(40):
        for case in compare(pair, slow).cases:
            effect = case.effects[0]
            if effect.relative_to is not None and effect.answer != "not judged":
                assert isinstance(case.case, ProfileCase)
                held += effect.low <= slow(case.case, "") <= effect.high
                total += 1
    assert total == 40 * JUDGED
    assert 0.92 <= held / total <= 0.98
