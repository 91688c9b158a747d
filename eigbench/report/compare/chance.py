"""Tests of shares and errors, and the correction for how many tests there are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eigbench.report.training.inference import SIGNIFICANT, Difference, fisher, wilson

Floats = NDArray[np.float64]
Share = tuple[int, int]
"""Successes, and how many there could have been."""


def shares(a: Share, b: Share) -> Difference:
    """The share of b less that of a, under Fisher's exact test; the two are independent.

    The interval is the tenth of R. G. Newcombe, Interval estimation for the difference between
    independent proportions, 1998: of both Wilson intervals, squared and added. It is not the
    test's own, so that it may leave out 0 where the test shows nothing, and the other way round.
    """
    value = b[0] / b[1] - a[0] / a[1]
    (low_a, high_a), (low_b, high_b) = wilson(*a), wilson(*b)
    below = math.hypot(b[0] / b[1] - low_b, high_a - a[0] / a[1])
    above = math.hypot(high_b - b[0] / b[1], a[0] / a[1] - low_a)
    return Difference(value, value - below, value + above, fisher([(a, b)]))


def shares_can_show(a: Share, b: Share) -> bool:
    """Whether any outcome with as many successes in all would give a p-value below 5 %."""
    total = a[0] + b[0]
    firsts = range(max(0, total - b[1]), min(a[1], total) + 1)
    extremes = {firsts[0], firsts[-1]}
    return min(fisher([((n, a[1]), (total - n, b[1]))]) for n in extremes) < SIGNIFICANT


def discordant(lost: int, gained: int) -> float:
    """The p-value of so many losses and gains among pairs: McNemar's test, exact."""
    if lost + gained == 0:
        return 1.0
    return float(stats.binomtest(lost, lost + gained).pvalue)


def discordant_can_show(lost: int, gained: int) -> bool:
    """Whether the p-value could be below 5 %, had all of them been losses."""
    return discordant(lost + gained, 0) < SIGNIFICANT


def paired_logs(logs: Floats) -> Difference | None:
    """The mean of logarithms of ratios, one a seed, under Student's t test against 0.

    If nothing but rounding has changed, a ratio is as likely as its inverse, so that the logarithms
    are symmetric about 0, for which the test keeps its level, or falls below it where their tails
    are heavy. Signs and ranks of eight seeds, however large the ratios, give no p-value below
    2/2⁸, which is lost among hundreds of tests. None of fewer than two, or without spread.
    """
    count = len(logs)
    if count < 2 or float(np.ptp(logs)) == 0:
        return None
    value, error = float(logs.mean()), float(logs.std(ddof=1)) / count**0.5
    reach = float(stats.t.ppf(1 - SIGNIFICANT / 2, count - 1)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, count - 1))
    return Difference(value, value - reach, value + reach, p)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values, raised for their number (Y. Benjamini and Y. Hochberg, 1995).

    Of the differences with one below 0.05, not more than one in twenty is expected to be chance;
    if none is real, the probability that any is shown is 5 %.
    """
    if not p_values:
        return []
    raised: list[float] = stats.false_discovery_control(p_values, method="bh").tolist()
    return raised
