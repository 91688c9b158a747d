"""How far a time may be off: by the scatter of its rounds, and from one run to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from eigbench.report.training.inference import SIGNIFICANT, Difference

Floats = NDArray[np.float64]

STRETCHES = 10

RATIO_BETWEEN_RUNS = 0.02
"""Standard deviation with which the logarithm of a ratio to a reference, timed in turn in the same
process, differs from run to run. Measured on a shared machine of two cores for a reference of the
same kind: 0.010 when the machine is quiet, 0.018 under load."""

RATIO_SHARE = 0.3
"""What a ratio differs by besides, as a share of the spread of its stretches. A machine with too
much to do interrupts what takes long more often than what is short, so that load moves ratios as
well. Of 66 comparisons of unchanged layers on two cores, at loads from 2.4 to 4.7, 7 alarmed
without this and 3 with it."""

TIME_BETWEEN_RUNS = 0.2
"""The same of a time by itself: what else a shared machine does moved times by 15 to 30 %."""

TIME_SHARE = 1.0
"""What moves a time lasts longer than a run, so that a run is known no better than a stretch."""


@dataclass(frozen=True)
class Level:
    """The mean of a run's values, its variance, and the degrees of freedom of that variance."""

    value: float
    variance: float
    freedom: int

    def moved(self, share: float) -> Level:
        """The level as other runs have it: off by this share of the spread of the stretches."""
        spread = self.variance * (self.freedom + 1)
        return replace(self, variance=self.variance + share**2 * spread)

    @property
    def inverse(self) -> Level:
        """The level of what the values are divided by, as these are logarithms."""
        return replace(self, value=-self.value)


def level(values: Floats) -> Level | None:
    """The level of values in order of time `(rounds,)`, and how well the run knows it.

    Neighbouring rounds resemble each other, so that they are not as many independent values. The
    run is cut into `STRETCHES`, and their medians are taken for independent: the method of batch
    means (A. M. Law and W. D. Kelton, Simulation Modeling and Analysis), with medians because a
    pause of the machine spoils a round. None of fewer than two rounds, or if one is not finite.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    stretches = np.array_split(values, min(STRETCHES, len(values)))
    medians = np.array([np.median(stretch) for stretch in stretches])
    count = len(medians)
    return Level(float(medians.mean()), float(medians.var(ddof=1)) / count, count - 1)


def between(a: Sequence[Level], b: Sequence[Level], allowance: float) -> Difference:
    """The sum of b's levels less that of a's, under Welch's t test with an allowance.

    `allowance` is the standard deviation with which the level of one run differs from that of
    another, though nothing has changed. No run shows it, so that it is known beforehand, from
    repeated runs: its degrees of freedom are infinite. Welch's own test is that of 0.
    """
    value = sum(one.value for one in b) - sum(one.value for one in a)
    levels = [*a, *b]
    variance = sum(one.variance for one in levels) + 2 * allowance**2
    if variance == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    uncertain = sum(one.variance**2 / one.freedom for one in levels)
    freedom = variance**2 / uncertain if uncertain else np.inf
    error = variance**0.5
    # Of scipy.special, whose t distribution has infinite degrees of freedom and needs no import
    # of all of scipy.stats.
    reach = float(special.stdtrit(freedom, 1 - SIGNIFICANT / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(value) / error))
    return Difference(value, value - reach, value + reach, p)
