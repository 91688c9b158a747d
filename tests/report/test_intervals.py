"""Medians with their intervals, and how they are written: only with the digits they support."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
import scipy.stats

from eigbench.report import numbers
from eigbench.report.stats import Interval, median

NAN = math.nan


def literal_rank(count: int) -> int:
    """The largest r with P(fewer than r of the samples are below the median) ≤ 2.5 %."""
    below = accumulate(math.comb(count, k) / 2**count for k in range(count))
    return sum(chance <= 0.025 for chance in below)


@pytest.mark.parametrize("count", [*range(1, 26), 50, 51, 79])
def test_the_interval_is_between_the_order_statistics_of_a_literal_sum(count: int) -> None:
    values = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    found = median(values)
    assert found is not None
    assert found.value == (count + 1) / 2
    rank = literal_rank(count)
    if rank:
        assert (found.low, found.high) == (rank, count + 1 - rank)
    else:
        assert math.isnan(found.reach)
        assert found.noisy


@pytest.mark.parametrize("count", [6, 11, 51])
def test_the_interval_holds_the_true_median_of_a_skewed_distribution(count: int) -> None:
    """Times have a long tail: the exponential distribution's median is ln 2."""
    draw = np.random.default_rng(count)
    held = 0
    for _ in range(400):
        found = median(draw.exponential(size=count))
        assert found is not None
        held += found.low <= math.log(2) <= found.high
    # At least 95 % of 400, less three standard deviations.
    assert held >= 380 - 3 * math.sqrt(400 * 0.95 * 0.05)


@pytest.mark.parametrize(
    ("low", "high", "noisy"),
    [(0.91, 1.09, False), (0.89, 1.0, True), (1.0, 1.11, True), (NAN, NAN, True)],
)
def test_an_interval_beyond_a_tenth_is_noisy(low: float, high: float, noisy: bool) -> None:
    assert Interval(1.0, low, high).noisy is noisy


def test_what_is_no_time_is_left_out_and_a_difference_may_be_negative() -> None:
    found = median([math.nan, math.inf, 0.0, -1.0, 2.0, 4.0])
    assert found is not None
    assert found.value == 3.0
    assert median([math.nan, -1.0]) is None
    assert median([]) is None
    signed = median([-3.0, -2.0, math.nan, -1.0], signed=True)
    assert signed is not None
    assert signed.value == -2.0


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.2345, 1.2344, 1.2346, "1.23 (1.23–1.23)"),  # three digits at most
        (1.2345, 1.2345, 1.2345, "1.23 (1.23–1.23)"),
        (1.2345, 1.20, 1.26, "1.23 (1.20–1.26)"),
        (12.345, 11.9, 12.6, "12.3 (11.9–12.6)"),
        (1.2345, 1.0, 1.4, "≈1.2 (1.0–1.4)"),
        (1.2345, 0.2, 9.0, "≈1 (0–9)"),
        (104.8, 104.0, 105.0, "105 (104–105)"),
        (104.8, 80.0, 140.0, "≈100 (80–140)"),
        (1234.0, 1233.0, 1235.0, "1230 (1230–1240)"),
        (0.001234, 0.00123, 0.00124, "0.00123 (0.00123–0.00124)"),
        (1.2345, NAN, NAN, "≈1.2"),  # too few for an interval
    ],
)
def test_the_interval_decides(value: float, low: float, high: float, text: str) -> None:
    assert numbers.with_interval(Interval(value, low, high)) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.3512, 0.31, 0.40, "+0.35 (+0.31 to +0.40)"),
        (-0.3512, -0.40, -0.31, "−0.35 (−0.40 to −0.31)"),
        (0.001, -0.05, 0.06, "0.00 (−0.05 to +0.06)"),
        (843.2, NAN, NAN, "≈+840"),
    ],
)
def test_a_difference_has_its_sign(value: float, low: float, high: float, text: str) -> None:
    assert numbers.difference(Interval(value, low, high)) == text


def test_a_span_is_of_medians_and_nothing_is_nothing() -> None:
    some = [Interval(2.0, 1.99, 2.01), None, Interval(1.0, 0.99, 1.01), Interval(3.0, 1.0, 5.0)]
    assert numbers.interval_span(some) == "1.00 to ≈3"
    assert numbers.interval_span(some[:1]) == "2.00"
    assert numbers.span([0.5, 0.25]) == "0.250 to 0.500"
    texts = [numbers.supported(None), numbers.with_interval(None), numbers.difference(None),
             numbers.interval_span([None]), numbers.span([NAN]), numbers.amount(NAN)]  # fmt: skip
    assert set(texts) == {numbers.NOTHING}


@pytest.mark.parametrize("none", [0.0, 1.0])
def test_a_median_has_the_sign_test_of_scipy(none: float) -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 40):
        values = np.round(rng.lognormal(0.2, 0.3, count), 1) + 0.1  # some are equal to 1
        test = scipy.stats.quantile_test(values, q=none, p=0.5)
        found = median(values, none=none)
        assert found is not None
        assert found.p == pytest.approx(test.pvalue, rel=1e-12)
        np.testing.assert_array_equal((found.low, found.high), test.confidence_interval(0.95))
