"""Tests of shares and errors, each against scipy, a published example or a literal count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eigbench.compare.rules import share_difference as shares
from eigbench.report.stats import SIGNIFICANT, adjust, discordant, paired

Share = tuple[int, int]


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # R. G. Newcombe, 1998, Table II: rows (a) to (h), method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_interval_is_that_of_newcombe(one: Share, other: Share, low: float, high: float) -> None:
    found = shares(other, one)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


share = st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(share, share)
def test_p_of_shares_is_that_of_scipy(a: Share, b: Share) -> None:
    table = [[successes, trials - successes] for successes, trials in (a, b)]
    found = shares(a, b)
    assert found.p == pytest.approx(float(stats.fisher_exact(table).pvalue))
    assert found.value == pytest.approx(b[0] / b[1] - a[0] / a[1])


@given(share, share)
def test_what_could_be_shown_is_found_by_trying_every_table(a: Share, b: Share) -> None:
    total = a[0] + b[0]
    possible = [
        stats.fisher_exact([[n, a[1] - n], [total - n, b[1] - total + n]]).pvalue
        for n in range(a[1] + 1)
        if 0 <= total - n <= b[1]
    ]
    least = float(min(possible))
    if abs(least - 0.05) > 1e-9:
        assert (shares(a, b).least_p < SIGNIFICANT) is (least < 0.05)


def test_three_trials_against_three_show_nothing() -> None:
    assert shares((3, 3), (0, 3)).least_p >= SIGNIFICANT
    assert shares((4, 4), (0, 4)).least_p < SIGNIFICANT


@given(st.integers(0, 12), st.integers(0, 12))
def test_discordant_pairs_are_tosses_of_a_coin(lost: int, gained: int) -> None:
    """Twice the probability of as few of the rarer kind, counted; at most 1."""
    total = lost + gained
    tail = sum(math.comb(total, k) for k in range(min(lost, gained) + 1)) / 2**total
    assert discordant(lost, gained) == pytest.approx(min(1.0, 2 * tail))


logs = st.lists(st.floats(-5, 5), min_size=2, max_size=9, unique=True)


@given(logs)
def test_paired_errors_are_scipys_t_test(numbers: list[float]) -> None:
    if np.ptp(numbers) < 1e-3:
        return
    found = paired(np.array(numbers))
    assert found is not None
    theirs = stats.ttest_1samp(numbers, 0)
    interval = theirs.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(numbers), abs=1e-12)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize("numbers", [[], [1.0], [0.5, 0.5, 0.5]])
def test_pairs_without_spread_are_not_tested(numbers: list[float]) -> None:
    assert paired(np.array(numbers)) is None


def test_errors_that_differ_by_rounding_keep_the_level_whatever_their_tails() -> None:
    draw = np.random.default_rng(0)
    below = 0
    for _ in range(1000):
        found = paired(draw.standard_cauchy(8))
        assert found is not None
        below += found.p < 0.05
    assert below <= 65  # 50 and two standard deviations


@given(st.lists(st.floats(0, 1), max_size=9))
def test_correction_is_benjamini_and_hochbergs_rule(p_values: list[float]) -> None:
    """Their rule at any level: all up to the largest k with p(k) ≤ k·level/m are shown."""
    raised = adjust(p_values)
    count = len(p_values)
    for shown_below in (0.01, 0.05, 0.2, 0.5):
        ordered = sorted(p_values)
        last = max(
            (p for k, p in enumerate(ordered, 1) if p <= k * shown_below / count), default=-1.0
        )
        for p, q in zip(p_values, raised, strict=True):
            if abs(q - shown_below) > 1e-12:
                assert (q < shown_below) is (p <= last)
