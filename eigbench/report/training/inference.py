"""What a few trials can show: intervals of shares, and tests of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The Wilson interval of a share at `CONFIDENCE`; (0, 1) of no trials.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not trials:
        return 0.0, 1.0
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def fisher(strata: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> float:
    """The p-value of two shares, each as (successes, trials), under Fisher's exact test.

    Of several strata, such as the conditions of a run, each has its own margins and the
    successes of the first share are added up over them: what differs between strata is not taken
    for a difference between the shares. 1 of no strata.
    """
    chances, observed = np.ones(1), 0
    for (successes, trials), (others, other_trials) in strata:
        total = successes + others
        least, most = max(0, total - other_trials), min(trials, total)
        possible = np.arange(least, most + 1)
        chances = np.convolve(
            chances, stats.hypergeom.pmf(possible, trials + other_trials, total, trials)
        )
        observed += successes - least
    # As unlikely as what was observed, or more; equal ones differ by rounding.
    return min(1.0, float(chances[chances <= chances[observed] * (1 + 1e-9)].sum()))


@dataclass(frozen=True)
class Difference:
    """A difference of two means with its interval at `CONFIDENCE` and its p-value."""

    value: float
    low: float
    high: float
    p: float


def welch(one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference | None:
    """The mean of `one` less that of `other`, under Welch's t test of unequal variances.

    None where there is nothing to test with: fewer than two values on a side, one that is not
    finite, or no spread on either side.
    """
    if min(len(one), len(other)) < 2 or not np.isfinite([*one, *other]).all():
        return None
    # Not scipy's ttest_ind: it warns where the values of one side are all the same.
    squares = [float(np.var(values, ddof=1)) / len(values) for values in (one, other)]
    if sum(squares) == 0:
        return None
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(values) - 1) for square, values in zip(squares, (one, other), strict=True)
    )
    value, error = float(np.mean(one) - np.mean(other)), sum(squares) ** 0.5
    reach = float(stats.t.ppf(1 - SIGNIFICANT / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Difference(value, value - reach, value + reach, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, raised for their number (S. Holm, 1979): below 0.05 still means shown."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
