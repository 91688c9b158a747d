"""Tests of shares and errors, each against scipy, a published example or a literal count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eigbench.report.stats import SIGNIFICANT, Interval, paired, share_difference

Share = tuple[int, int]


def shares(a: Share, b: Share) -> Interval:
    """The share of b less that of a."""
    return share_difference([(b, a)])


share = st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(share, share)
def test_p_of_shares_is_that_of_scipy(a: Share, b: Share) -> None:
    table = [[successes, trials - successes] for successes, trials in (a, b)]
    found = shares(a, b)
    assert found.p == pytest.approx(float(stats.fisher_exact(table).pvalue))
    assert found.value == pytest.approx(b[0] / b[1] - a[0] / a[1])


@given(share, share)
def test_what_could_be_shown_is_found_by_trying_every_table(a: Share, b: Share) -> None:
    possible = [
        stats.fisher_exact([[n, a[1] - n], [m, b[1] - m]]).pvalue
        for n in range(a[1] + 1)
        for m in range(b[1] + 1)
    ]
    least = float(min(possible))
    if abs(least - 0.05) > 1e-9:
        assert (shares(a, b).least_p < SIGNIFICANT) is (least < 0.05)


def test_three_trials_against_three_show_nothing() -> None:
    assert shares((3, 3), (0, 3)).least_p >= SIGNIFICANT
    assert shares((4, 4), (0, 4)).least_p < SIGNIFICANT


logs = st.lists(st.floats(-5, 5), min_size=2, max_size=9, unique=True)


def test_errors_that_differ_by_rounding_keep_the_level_whatever_their_tails() -> None:
    draw = np.random.default_rng(0)
    below = 0
    for _ in range(1000):
        found = paired(draw.standard_cauchy(8))
        assert found is not None
        below += found.p < 0.05
    assert below <= 65  # 50 and two standard deviations
