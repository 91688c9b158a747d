"""Intervals, tests and the rule of when a difference is shown, each against another way to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from eigbench.report.stats import (
    SIGNIFICANT,
    Interval,
    adjust,
    decide,
    discordant,
    hazard,
    mean_difference,
    middle,
    outlasting,
    paired,
    share,
    share_difference,
    survival,
)

Share = tuple[int, int]
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

shares = st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
values = st.lists(st.floats(-3, 3), min_size=2, max_size=10, unique=True)


# Shares.


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (2, 2), (7, 15), (15, 15), (1, 5)])
def test_a_share_has_the_interval_of_wilson(successes: int, trials: int) -> None:
    """Its definition: the shares p with |p̂ − p| ≤ z √(p(1 − p)/n)."""
    found = share(successes, trials)
    for end in (found.low, found.high):
        inside = abs(successes / trials - end) - Z * math.sqrt(end * (1 - end) / trials)
        assert inside == pytest.approx(0, abs=1e-9)


def test_a_share_of_no_trials_says_nothing() -> None:
    found = share(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


@given(shares, shares)
def test_a_difference_of_shares_is_tested_by_fisher(one: Share, other: Share) -> None:
    table = [[successes, trials - successes] for successes, trials in (one, other)]
    found = share_difference(one, other)
    assert found.p == pytest.approx(float(scipy_stats.fisher_exact(table).pvalue))
    assert found.value == pytest.approx(one[0] / one[1] - other[0] / other[1])


@given(shares, shares)
def test_what_could_be_shown_is_found_by_trying_every_table(one: Share, other: Share) -> None:
    least = min(
        float(scipy_stats.fisher_exact([[n, one[1] - n], [m, other[1] - m]]).pvalue)
        for n in range(one[1] + 1)
        for m in range(other[1] + 1)
    )
    if abs(least - SIGNIFICANT) > 1e-9:
        assert (share_difference(one, other).least_p < SIGNIFICANT) is (least < SIGNIFICANT)


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
def test_a_difference_of_shares_has_the_interval_of_newcombe(
    one: Share, other: Share, low: float, high: float
) -> None:
    found = share_difference(one, other)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


@given(st.integers(0, 12), st.integers(0, 12))
def test_discordant_pairs_are_tosses_of_a_coin(lost: int, gained: int) -> None:
    """Twice the probability of as few of the rarer kind, counted; at most 1."""
    total = lost + gained
    tail = sum(math.comb(total, k) for k in range(min(lost, gained) + 1)) / 2**total
    assert discordant(lost, gained) == pytest.approx(min(1.0, 2 * tail))


# Hazards and survival.


@pytest.mark.parametrize("steps", [1, 84, 252, 136_850])
def test_the_hazard_without_a_failure_is_the_rule_of_three(steps: int) -> None:
    """So large that no failure in all the steps has a probability of 5 %."""
    found = hazard(0, steps)
    assert (1 - found.high) ** steps == pytest.approx(0.05)
    assert found.value == found.low == 0
    if steps > 50:
        assert found.high == pytest.approx(3 / steps, rel=0.02)


def test_the_hazard_with_failures_is_exact() -> None:
    """At either end, as many failures or more (or fewer) have a probability of 2.5 %."""
    found = hazard(3, 100)
    assert found.value == 0.03
    assert scipy_stats.binom(100, found.low).sf(2) == pytest.approx(0.025)
    assert scipy_stats.binom(100, found.high).cdf(3) == pytest.approx(0.025)
    assert math.isnan(hazard(0, 0).value)


def test_the_share_that_outlasts_a_hazard() -> None:
    found = outlasting(Interval(0.001, 0.0, 1.0), 1000)
    assert found.value == pytest.approx(0.999**1000)
    assert (found.low, found.high) == (0.0, 1.0)
    assert outlasting(hazard(1, 50), 0) == Interval(1.0, 1.0, 1.0)


def test_survival_by_hand() -> None:
    """Five trials: failures at 2 and 4; one last seen at 3, two at 5.

    5 are at risk at 2, so 4/5 survive; 3 at 4, as one was lost from sight, so 4/5 · 2/3.
    """
    found = survival([2, 3, 4, 5, 5], [True, False, True, False, False])
    at = dict(zip(found.steps, found.share, strict=True))
    assert at[2] == pytest.approx(4 / 5)
    assert at[4] == pytest.approx(8 / 15)
    assert at[5] == pytest.approx(8 / 15)
    # Greenwood at 4 on the scale log(−log S): 1/(5·4) + 1/(3·2), over (log S)².
    deviation = math.sqrt(1 / 20 + 1 / 6) / abs(math.log(8 / 15))
    low = math.exp(-math.exp(math.log(-math.log(8 / 15)) + Z * deviation))
    assert found.low[list(found.steps).index(4)] == pytest.approx(low)


# Medians and means.


def test_a_median_that_could_be_missing_is_infinite() -> None:
    assert middle([1.0, math.nan, math.nan]) == math.inf
    assert middle([1.0, 2.0, math.nan]) == 2
    assert math.isnan(middle([]))


@given(values, values)
def test_a_difference_of_means_is_welch_of_scipy(one: list[float], other: list[float]) -> None:
    if min(np.ptp(one), np.ptp(other)) < 1e-3:  # scipy warns of cancellation there
        return
    theirs = scipy_stats.ttest_ind(one, other, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    by_means = mean_difference(np.array(one), np.array(other))
    assert by_means is not None
    assert by_means.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert by_means.low == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert by_means.high == pytest.approx(interval.high, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("one", "other"),
    [([0.5], [0.4, 0.5]), ([0.5, 0.5], [0.9, 0.9]), ([0.5, math.nan], [0.4, 0.5]), ([], [])],
)
def test_no_means_are_tested_without_spread_or_values(one: list[float], other: list[float]) -> None:
    assert mean_difference(np.array(one), np.array(other)) is None


def test_spread_on_one_side_is_enough() -> None:
    assert mean_difference(np.array([0.9, 0.9]), np.array([0.4, 0.5])) is not None


@given(values)
def test_paired_differences_are_scipys_t_test(numbers: list[float]) -> None:
    if np.ptp(numbers) < 1e-3:
        return
    found = paired(np.array(numbers))
    assert found is not None
    theirs = scipy_stats.ttest_1samp(numbers, 0)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_pairs_that_differ_by_rounding_keep_the_level_whatever_their_tails() -> None:
    draw = np.random.default_rng(0)
    found = [paired(draw.standard_cauchy(8)) for _ in range(1000)]
    assert sum(one is not None and one.p < 0.05 for one in found) <= 65  # 50, 2 deviations


@pytest.mark.parametrize("numbers", [[], [1.0], [0.5, 0.5, 0.5]])
def test_pairs_without_spread_are_not_tested(numbers: list[float]) -> None:
    assert paired(np.array(numbers)) is None


# The rule.


@given(st.lists(st.floats(0, 1), max_size=9))
def test_the_correction_is_benjamini_and_hochbergs(p_values: list[float]) -> None:
    """Their rule at any level: all up to the largest k with p(k) ≤ k·level/m are shown."""
    raised = adjust(p_values)
    for shown_below in (0.01, 0.05, 0.2, 0.5):
        ordered = sorted(p_values)
        last = max(
            (p for k, p in enumerate(ordered, 1) if p <= k * shown_below / len(p_values)),
            default=-1.0,
        )
        for p, q in zip(p_values, raised, strict=True):
            if abs(q - shown_below) > 1e-12:
                assert (q < shown_below) is (p <= last)


def test_one_rule_decides() -> None:
    found = [
        Interval(0.5, p=0.01),
        Interval(-0.5, p=0.02),
        Interval(0.1, p=0.6),
        share_difference((3, 3), (0, 3)),
        None,
        Interval(1.0),
    ]
    decisions = decide(found)
    assert [one.answer for one in decisions] == [
        "higher", "lower", "not shown", "cannot be shown", "not tested", "not tested",
    ]  # fmt: skip
    # Three were asked: what cannot show anything costs the others nothing.
    assert [one.adjusted for one in decisions[:3]] == pytest.approx([0.03, 0.03, 0.6])


def test_three_trials_cannot_show_anything_and_four_can() -> None:
    (three,) = decide([share_difference((3, 3), (0, 3))])
    (four,) = decide([share_difference((4, 4), (0, 4))])
    assert (three.answer, four.answer) == ("cannot be shown", "higher")
