"""Levels of times and their differences, each against another way to the same number."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eigbench.report.stats import Level, between_runs, level, resolution

values = st.lists(st.floats(-3, 3), min_size=2, max_size=10, unique=True)


def known(numbers: list[float]) -> Level:
    found = level(np.array(numbers))
    assert found is not None
    return found


@given(values, values)
def test_few_rounds_without_allowance_are_welch_of_scipy(a: list[float], b: list[float]) -> None:
    if min(np.ptp(a), np.ptp(b)) < 1e-3:  # scipy warns of cancellation there
        return
    found = between_runs([known(a)], [known(b)], 0)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(b) - np.mean(a), abs=1e-12)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-9)


def test_rounds_without_scatter_leave_the_allowance() -> None:
    """Then the difference is normal, of variance 2τ²."""
    found = between_runs([Level(0.0, 0.0, 9)], [Level(0.1, 0.0, 9)], 0.02)
    expected = stats.norm(0, math.sqrt(2) * 0.02)
    assert found.p == pytest.approx(2 * expected.sf(0.1))
    assert found.high - found.value == pytest.approx(expected.ppf(0.975))


def test_nothing_at_all_is_no_difference() -> None:
    same = between_runs([Level(1.0, 0.0, 9)], [Level(1.0, 0.0, 9)], 0)
    other = between_runs([Level(1.0, 0.0, 9)], [Level(2.0, 0.0, 9)], 0)
    assert (same.value, same.p) == (0, 1)
    assert (other.value, other.p) == (1, 0)


def test_many_rounds_are_ten_medians() -> None:
    numbers = [float((7 * index) % 31) for index in range(51)]
    sizes = [6, *[5] * 9]
    medians, start = [], 0
    for size in sizes:
        medians.append(statistics.median(numbers[start : start + size]))
        start += size
    found = known(numbers)
    assert found.value == pytest.approx(statistics.mean(medians))
    assert found.variance == pytest.approx(statistics.variance(medians) / 10)
    assert found.freedom == 9


def test_a_pause_spoils_a_round_and_not_the_level() -> None:
    draw = np.random.default_rng(0)
    quiet = draw.normal(0, 0.01, 51)
    paused = quiet.copy()
    paused[[3, 20, 44]] += 5
    before, after = level(quiet), level(paused)
    assert before is not None
    assert after is not None
    assert after.value == pytest.approx(before.value, abs=0.01)
    assert after.variance < 4 * before.variance


@pytest.mark.parametrize("numbers", [[], [1.0], [1.0, math.nan, 2.0], [math.inf, 1.0]])
def test_too_little_is_no_level(numbers: list[float]) -> None:
    assert level(np.array(numbers)) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_another_run_is_off_by_a_share_of_the_spread_of_stretches(share: float) -> None:
    numbers = [1.0, 2.0, 4.0, 3.0]
    spread = statistics.variance(numbers)
    moved = known(numbers).moved(share)
    assert moved.variance == pytest.approx(spread / 4 + share**2 * spread)
    assert (moved.value, moved.freedom) == (known(numbers).value, 3)


def test_rounds_that_resemble_their_neighbours_do_not_make_it_too_sure() -> None:
    """A naive t interval of such rounds holds the truth far less often than it says."""
    draw = np.random.default_rng(0)
    held = {"stretches": 0, "naive": 0}
    trials = 400
    for _ in range(trials):
        a, b = (_resembling(draw, 51) for _ in range(2))
        found = between_runs([known(list(a))], [known(list(b))], 0)
        held["stretches"] += found.low <= 0 <= found.high
        naive = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        held["naive"] += naive.low <= 0 <= naive.high
    assert held["stretches"] / trials > 0.88
    assert held["naive"] / trials < 0.8


def _resembling(
    draw: np.random.Generator, count: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Values of mean 0, each correlated by 0.5 with the one before."""
    noise = draw.normal(size=count + 20)
    out = np.zeros(count + 20)
    for index in range(1, count + 20):
        out[index] = 0.5 * out[index - 1] + noise[index]
    return out[20:]


def test_a_resolution_is_what_one_in_twenty_exceeds() -> None:
    assert resolution([1.0, 0.5, 1.2]) == 1.0
    assert resolution([1 + i / 100 for i in range(19)]) == pytest.approx(0.18)
    assert resolution([1 + i / 100 for i in range(40)]) == pytest.approx(0.37)
