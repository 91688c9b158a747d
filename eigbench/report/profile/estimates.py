"""A median, and how far its samples can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
NOISY = 0.1
"""A median is noisy if its interval reaches further from it than this share of it."""


@dataclass(frozen=True)
class Estimate:
    """The median of some samples, and the ends of its interval, NaN where they are too few."""

    middle: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """How far the interval goes from the median, to its further end."""
        return max(self.high - self.middle, self.middle - self.low)

    @property
    def noisy(self) -> bool:
        """Whether the interval is wider than ± `NOISY`, or there is none."""
        return not self.reach <= NOISY * abs(self.middle)


def estimate(values: NDArray[np.float64], *, signed: bool = False) -> Estimate | None:
    """The median of the finite values, above 0 unless `signed`; None if there are none.

    Its interval is between two order statistics, which supposes no distribution: the number of
    samples below the median of what they are drawn from is binomial. Fewer than six samples have
    no such interval at `CONFIDENCE`.
    """
    kept = np.sort(values[np.isfinite(values)])
    if not signed:
        kept = kept[kept > 0]
    count = len(kept)
    if not count:
        return None
    rank = median_rank(count, CONFIDENCE)
    ends = (kept[rank - 1], kept[count - rank]) if rank else (math.nan, math.nan)
    return Estimate(float(np.median(kept)), float(ends[0]), float(ends[1]))


def median_rank(count: int, confidence: float) -> int:
    """The largest r for which the median lies between the r-th smallest and largest of `count`.

    At `confidence` or more, whatever the distribution is. 0 if not even the extremes hold it so
    surely.
    """
    from scipy.stats import binom  # late: slow to import

    return int(binom.ppf((1 - confidence) / 2, count, 0.5))
