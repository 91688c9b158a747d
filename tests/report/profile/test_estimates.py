"""Medians and their intervals, against literal sums and draws whose median is known."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest

from eigbench.report.profile.estimates import Estimate, estimate


def literal_rank(count: int) -> int:
    """The largest r with P(fewer than r of the samples are below the median) ≤ 2.5 %."""
    below = accumulate(math.comb(count, k) / 2**count for k in range(count))
    return sum(chance <= 0.025 for chance in below)


@pytest.mark.parametrize("count", range(1, 80))
def test_the_interval_is_between_the_order_statistics_of_a_literal_sum(count: int) -> None:
    values = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    found = estimate(values)
    assert found is not None
    assert found.middle == (count + 1) / 2
    rank = literal_rank(count)
    if rank:
        assert (found.low, found.high) == (rank, count + 1 - rank)
    else:
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_fewer_than_six_samples_have_no_interval_and_are_noisy() -> None:
    five, six = (estimate(np.ones(count)) for count in (5, 6))
    assert five is not None
    assert six is not None
    assert math.isnan(five.reach)
    assert five.noisy
    assert six.reach == 0
    assert not six.noisy


@pytest.mark.parametrize("count", [6, 11, 25, 51])
def test_the_interval_holds_the_true_median_of_a_skewed_distribution(count: int) -> None:
    """Times have a long tail: the exponential distribution's median is ln 2."""
    draw = np.random.default_rng(count)
    held = 0
    for _ in range(1000):
        found = estimate(draw.exponential(size=count))
        assert found is not None
        held += found.low <= math.log(2) <= found.high
    # At least 95 % of 1000, less three standard deviations.
    assert held >= 950 - 3 * math.sqrt(1000 * 0.95 * 0.05)


@pytest.mark.parametrize(
    ("low", "high", "noisy"),
    [(0.91, 1.09, False), (0.89, 1.0, True), (1.0, 1.11, True), (math.nan, math.nan, True)],
)
def test_an_interval_beyond_a_tenth_is_noisy(low: float, high: float, noisy: bool) -> None:
    assert Estimate(1.0, low, high).noisy is noisy


def test_what_is_no_time_is_left_out() -> None:
    found = estimate(np.array([math.nan, math.inf, 0.0, -1.0, 2.0, 4.0]))
    assert found is not None
    assert found.middle == 3.0
    assert estimate(np.array([math.nan, -1.0])) is None
    assert estimate(np.array([])) is None


def test_a_difference_may_be_negative() -> None:
    found = estimate(np.array([-3.0, -2.0, math.nan, -1.0]), signed=True)
    assert found is not None
    assert found.middle == -2.0
