"""Gradient spikes: steps whose gradient stands out from those just before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FACTOR = 10
"""A step is a spike if its norm is over this many times the running median."""

WINDOW, LEAST = 50, 5
"""The running median is over so many steps before; the first steps, with fewer, are not judged."""

MEANING = (
    f"a gradient norm over {FACTOR} times the median of the last {WINDOW} steps "
    f"(at least {LEAST}; a norm that is not finite is one)"
)

UNJUDGED = "not judged"
"""What is said of trials that ended before any step could be."""


@dataclass(frozen=True)
class Spikes:
    """How many of the judged steps are spikes, and the largest norm over its running median."""

    count: int
    judged: int
    largest: float

    @property
    def per_thousand(self) -> float:
        """Spikes in 1000 steps; NaN if no step was judged."""
        return 1000 * self.count / self.judged if self.judged else float("nan")

    def __add__(self, other: Spikes) -> Spikes:
        largest = float(np.fmax(self.largest, other.largest))
        return Spikes(self.count + other.count, self.judged + other.judged, largest)


NONE = Spikes(0, 0, float("nan"))


def spikes(norms: NDArray[np.float64]) -> Spikes:
    """The spikes of one trial, by the norms of its steps in order."""
    ratios = spike_ratios(norms)
    if not len(ratios):
        return NONE
    return Spikes(int((ratios > FACTOR).sum()), len(ratios), float(ratios.max()))


def spike_ratios(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Norm over running median, from step `LEAST` on; what is not finite counts as infinite."""
    norms = np.where(np.isnan(norms), np.inf, norms)
    middles = [np.median(norms[:step]) for step in range(LEAST, min(WINDOW, len(norms)))]
    if len(norms) > WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(norms, WINDOW)[:-1]
        middles = [*middles, *np.median(windows, axis=-1)]
    running = np.array(middles, dtype=np.float64)
    judged = norms[LEAST:]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = judged / running
    # 0/0 is a gradient that stays 0; ∞/∞ is one that stays infinite, and infinite is what it is.
    return np.where(np.isnan(ratios), np.where(judged == 0, 0.0, np.inf), ratios)
