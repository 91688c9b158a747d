"""Intervals and tests, each against another way to the same number."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eigbench.report.training.inference import fisher, holm, welch, wilson

Share = tuple[int, int]

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (2, 2), (7, 15), (15, 15), (1, 5)])
def test_wilson_interval_is_where_its_own_test_gives_five_per_cent(
    successes: int, trials: int
) -> None:
    """The definition: the shares p with |p̂ − p| ≤ z √(p(1 − p)/n)."""
    for end in wilson(successes, trials):
        inside = abs(successes / trials - end) - Z * math.sqrt(end * (1 - end) / trials)
        assert inside == pytest.approx(0, abs=1e-9)


def test_wilson_of_no_trials_says_nothing() -> None:
    assert wilson(0, 0) == (0, 1)


def test_fisher_counts_tables() -> None:
    """3 of 3 against 0 of 3: one table of C(6, 3) = 20 on each side is as extreme."""
    assert fisher([((3, 3), (0, 3))]) == pytest.approx(2 / 20)
    assert fisher([((2, 3), (2, 3))]) == pytest.approx(1)
    assert fisher([]) == 1


shares = st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(shares, shares)
def test_fisher_of_one_stratum_is_that_of_scipy(one: Share, other: Share) -> None:
    table = [[successes, trials - successes] for successes, trials in (one, other)]
    assert fisher([(one, other)]) == pytest.approx(float(stats.fisher_exact(table).pvalue))


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=2))
def test_fisher_of_strata_counts_every_assignment(strata: list[tuple[Share, Share]]) -> None:
    """Each stratum's trials dealt out to the two sides in every way, all ways as likely."""
    dealt = []
    for (successes, trials), (others, other_trials) in strata:
        total = successes + others
        marks = [1] * total + [0] * (trials + other_trials - total)
        dealt.append([sum(own) for own in combinations(marks, trials)])
    ways = Counter(sum(sums) for sums in product(*dealt))
    observed = ways[sum(successes for (successes, _), _ in strata)]
    extreme = sum(count for count in ways.values() if count <= observed)
    assert fisher(strata) == pytest.approx(extreme / ways.total())


def test_what_differs_between_strata_is_no_difference_between_the_shares() -> None:
    """Nothing in either condition; added up, 1 of 4 against 3 of 4."""
    assert fisher([((0, 3), (0, 1)), ((1, 1), (3, 3))]) == 1


trial_values = st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6, unique=True)


@given(trial_values, trial_values)
def test_welch_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    first, second = np.array(one), np.array(other)
    if min(np.ptp(first), np.ptp(second)) < 1e-3:  # scipy warns of cancellation there
        return
    found = welch(first, second)
    assert found is not None
    theirs = stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("one", "other"),
    [([0.5], [0.4, 0.5]), ([0.5, 0.5], [0.9, 0.9]), ([0.5, math.nan], [0.4, 0.5]), ([], [])],
)
def test_nothing_is_tested_without_spread_or_values(one: list[float], other: list[float]) -> None:
    assert welch(np.array(one), np.array(other)) is None


def test_spread_on_one_side_is_enough() -> None:
    assert welch(np.array([0.9, 0.9]), np.array([0.4, 0.5])) is not None


def test_holm_by_hand() -> None:
    """Smallest times 3, next times 2, largest times 1, never falling."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    ordered = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert all(q <= r for q, r in pairwise(ordered))
