"""Where a median lies, from the order of the samples alone."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binom


def median_interval(samples: Sequence[float], confidence: float = 0.99) -> tuple[float, float]:
    """The two samples between which the median lies, at `confidence` or more.

    Each of n samples falls below the median with probability ½, so how many do is binomial,
    whatever the distribution: the k-th smallest and the k-th largest hold the median between them
    except with probability 2·P(Bin(n, ½) < k). Under 8 samples even the extremes do not reach 99 %.
    They are returned then. `ValueError` without samples.
    """
    if not samples:
        raise ValueError("an interval takes one sample or more")
    ordered, n = sorted(samples), len(samples)
    rank = max(int(binom.ppf((1 - confidence) / 2, n, 0.5)), 1)
    return ordered[rank - 1], ordered[n - rank]
