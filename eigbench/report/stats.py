"""The statistics of every report: intervals, tests, and the one rule of when a difference is shown.

A difference is shown if its p-value, corrected for all the differences that are asked together
(Benjamini and Hochberg, 1995), is below 0.05. A test that no outcome could bring below 0.05 is not
asked: it is reported as one that cannot show anything.

`scipy.stats` takes 0.6 s to import, so that only what needs it does: a report of gradients and
times has sign tests alone, and those are sums of binomial coefficients.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Share = tuple[int, int]
"""Successes, and trials."""

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
NOISY = 0.1
"""A median is noisy if its interval reaches further from it than this share of it."""

Answer = Literal["higher", "lower", "not shown", "cannot be shown", "not tested"]


@dataclass(frozen=True)
class Interval:
    """A value, its 95 % interval, and the p-value of the hypothesis of no difference.

    `low` and `high` are NaN where there are too few samples. `p` is NaN where nothing was tested;
    `least_p` is the smallest p-value that any outcome of the same size could have given.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    least_p: float = 0.0

    @property
    def reach(self) -> float:
        """How far the interval goes from the value, to its further end; NaN without one."""
        return max(self.high - self.value, self.value - self.low)

    @property
    def exponential(self) -> Interval:
        """Of a logarithm the number itself; infinite where it is too large."""
        with np.errstate(over="ignore"):
            value, low, high = np.exp([self.value, self.low, self.high]).tolist()
        return replace(self, value=value, low=low, high=high)

    @property
    def noisy(self) -> bool:
        """Whether the interval is wider than ± `NOISY` of the value, or there is none."""
        return not self.reach <= NOISY * abs(self.value)


@dataclass(frozen=True)
class Decision:
    """What a difference shows, after the correction for all that were asked together."""

    found: Interval | None
    adjusted: float
    answer: Answer

    @property
    def shown(self) -> bool:
        """Whether there is a difference beyond chance."""
        return self.answer in ("higher", "lower")


def decide(found: Sequence[Interval | None], none: float = 0.0) -> list[Decision]:
    """The one rule: each difference with its corrected p-value and its answer.

    `none` is the value of no difference: 0, or 1 for ratios.
    """
    asked = {
        position: one.p
        for position, one in enumerate(found)
        if one is not None and not math.isnan(one.p) and one.least_p < SIGNIFICANT
    }
    adjusted = dict(zip(asked, adjust([*asked.values()]), strict=True))
    return [_decision(one, adjusted.get(i, math.nan), none) for i, one in enumerate(found)]


def _decision(one: Interval | None, adjusted: float, none: float) -> Decision:
    if one is None or (math.isnan(one.p) and one.least_p < SIGNIFICANT):
        return Decision(one, adjusted, "not tested")
    if one.least_p >= SIGNIFICANT:
        return Decision(one, adjusted, "cannot be shown")
    if not adjusted < SIGNIFICANT:
        return Decision(one, adjusted, "not shown")
    return Decision(one, adjusted, "higher" if one.value > none else "lower")


def adjust(p_values: Sequence[float]) -> list[float]:
    """The p-values, raised for their number (Y. Benjamini and Y. Hochberg, 1995).

    Of the differences with one below 0.05, one in twenty at most is expected to be chance.
    """
    p, count = np.array(p_values, dtype=np.float64), len(p_values)
    order = np.argsort(p)
    scaled = p[order] * (count / np.arange(1, count + 1))
    raised = np.empty(count)
    raised[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(0, 1)
    return raised.tolist()


def middle(values: Iterable[float]) -> float:
    """The median, where NaN counts as infinite; NaN of nothing."""
    known = np.asarray(list(values), dtype=np.float64)
    if not len(known):
        return math.nan
    ordered = np.sort(np.where(np.isnan(known), np.inf, known)).tolist()
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    # Halves, as the sum of two of the largest numbers overflows; those of the least are 0.
    return float(low if low == high else low / 2 + high / 2)


def mean(values: Floats) -> float:
    """The mean, of numbers as large as there are too; NaN of nothing."""
    if not len(values):
        return math.nan
    (scaled,), exponent = _scaled(values)
    return float(np.ldexp(scaled.mean(), exponent))


def _scaled(*samples: Floats) -> tuple[list[Floats], int]:
    """The samples over a power of two, which is exact, so that none is above 1; its exponent."""
    exponent = int(np.frexp(np.abs(np.concatenate(samples)).max())[1])
    return [np.ldexp(values, -exponent) for values in samples], exponent


def median(values: Iterable[float], *, signed: bool = False, none: float = 1.0) -> Interval | None:
    """The median of the finite values, above 0 unless `signed`; None if there are none.

    Interval and p-value (of a median of `none`) are those of the sign test, which supposes no
    distribution, but that the samples are independent. Fewer than six have no 95 % interval.
    """
    kept = np.asarray(list(values), dtype=np.float64)
    kept = kept[np.isfinite(kept) & (signed | (kept > 0))]
    if not len(kept):
        return None
    below, equal = int((kept < none).sum()), int((kept == none).sum())
    p_value, *places = _sign_test(below, equal, len(kept) - below - equal)
    ordered = np.sort(kept)
    low, high = (math.nan if math.isnan(i) else float(ordered[int(i)]) for i in places)
    return Interval(middle(kept), low, high, p_value, 2 * 0.5 ** len(kept))


def _sign_test(below: int, equal: int, above: int) -> tuple[float, float, float]:
    """The p-value, and the places of the interval's ends among the values in order.

    Of values with so many below the median that is tested, equal to it and above it (W. J. Conover,
    Practical Nonparametric Statistics, 1999, §3.2).
    """
    count = below + equal + above
    p = min(1.0, 2 * min(_at_most(below + equal, count), _at_most(equal + above, count)))
    beyond = (1 - CONFIDENCE) / 2
    ways = itertools.accumulate(math.comb(count, k) for k in range(count))
    low = next((k for k, sum_ in enumerate(ways) if sum_ / 2**count >= beyond), count) - 1
    return p, float(low) if low >= 0 else math.nan, float(count - 1 - low) if low >= 0 else math.nan


@functools.cache
def _at_most(heads: int, tosses: int) -> float:
    """The probability of at most so many heads in tosses of a fair coin, rounded once."""
    ways = sum(math.comb(tosses, k) for k in range(heads + 1))
    return float(ways / 2**tosses)


def share(successes: int, trials: int) -> Interval:
    """A share with its Wilson interval (E. B. Wilson, 1927); NaN, from 0 to 1, of no trials."""
    from scipy import stats

    if not trials:
        return Interval(math.nan, 0.0, 1.0)
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def hazard(failures: int, steps: int) -> Interval:
    """Failures per step, with the exact (Clopper and Pearson, 1934) 95 % interval.

    Without a failure the upper end is one-sided, `1 − 0.05^(1/steps)`, about 3/steps: the rule of
    three.
    """
    from scipy import stats

    if not steps:
        return Interval(math.nan, 0.0, 1.0)
    if not failures:
        return Interval(0.0, 0.0, 1 - SIGNIFICANT ** (1 / steps))
    found = stats.binomtest(failures, steps).proportion_ci(CONFIDENCE, method="exact")
    return Interval(failures / steps, float(found.low), float(found.high))


def outlasting(hazard: Interval, steps: int) -> Interval:
    """The share of trials that outlasts so many steps, each of them with this hazard.

    The ends of the interval trade places.
    """
    value, high, low = (
        math.exp(steps * math.log1p(-end)) if end < 1 else 0.0
        for end in (hazard.value, hazard.low, hazard.high)
    )
    return Interval(value, low, high)


def mean_difference(one: Floats, other: Floats) -> Interval | None:
    """The mean of `one` less that of `other`, under Welch's t test of unequal variances.

    None where there is nothing to test with: fewer than two values on a side, one that is not
    finite, or no spread on either side.
    """
    from scipy import stats

    if min(len(one), len(other)) < 2 or not np.isfinite([*one, *other]).all():
        return None
    (first, second), exponent = _scaled(one, other)
    if np.ptp(first) == np.ptp(second) == 0:
        return None
    value = float(first.mean() - second.mean())
    found = _t_test(value, lambda: stats.ttest_ind(first, second, equal_var=False))
    with np.errstate(over="ignore"):
        value, low, high = np.ldexp([found.value, found.low, found.high], exponent).tolist()
    return replace(found, value=value, low=low, high=high)


def paired(differences: Floats) -> Interval | None:
    """The mean of paired differences under Student's t test against 0.

    None of fewer than two, or without spread.
    """
    from scipy import stats

    if len(differences) < 2 or float(np.ptp(differences)) == 0:
        return None
    return _t_test(float(differences.mean()), lambda: stats.ttest_1samp(differences, 0))


def _t_test(value: float, test: Callable[[], Any]) -> Interval:
    """A mean with what SciPy's test says of it."""
    with warnings.catch_warnings():
        # SciPy warns where values are nearly or all the same, which is no fault here.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = test()
        low, high = found.confidence_interval(CONFIDENCE)
    return Interval(value, float(low), float(high), float(found.pvalue))


def share_difference(one: Share, other: Share) -> Interval:
    """The first share less the second under Fisher's exact test.

    The interval is the tenth of R. G. Newcombe, 1998: of both Wilson intervals, squared and added.
    It is not the test's own.
    """
    from scipy import stats

    (successes, trials), (others, other_trials) = one, other
    first, second = share(*one), share(*other)
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    found, extreme = (
        float(stats.fisher_exact(counts).pvalue)
        for counts in (
            [[successes, trials - successes], [others, other_trials - others]],
            [[0, trials], [other_trials, 0]],
        )
    )
    return Interval(value, value - below, value + above, found, extreme)


def discordant(lost: int, gained: int) -> float:
    """The p-value of so many losses and gains among pairs: McNemar's test, exact."""
    return min(1.0, 2 * _at_most(min(lost, gained), lost + gained))


# How far a time may be off: by the scatter of its rounds, and from one run to another.

STRETCHES = 10
"""Rounds of a run are cut into so many stretches, whose medians are taken for independent."""

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


def resolution(ratios: Sequence[float]) -> float:
    """How far apart two medians of the same thing come out on a machine, as a share.

    `ratios` are those of a kernel to itself, see `eigbench.measure.noise`. It is the deviation from
    1 that one in twenty exceeds, and of fewer than twenty the largest.
    """
    apart = sorted(max(ratio, 1 / ratio) - 1 for ratio in ratios)
    return apart[-1 - len(apart) // 20]


@dataclass(frozen=True)
class Level:
    """The mean of a run's values, its variance, and the degrees of freedom of that variance."""

    value: float
    variance: float
    freedom: int

    def moved(self, proportion: float) -> Level:
        """The level as other runs have it: off by this share of the spread of the stretches."""
        spread = self.variance * (self.freedom + 1)
        return replace(self, variance=self.variance + proportion**2 * spread)


def level(values: Floats) -> Level | None:
    """The level of values in order of time `(rounds,)`, and how well the run knows it.

    Neighbouring rounds resemble each other, so that they are not as many independent values: the
    method of batch means (A. M. Law and W. D. Kelton, Simulation Modeling and Analysis), with
    medians because a pause of the machine spoils a round. None of fewer than two rounds, or if one
    is not finite.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    stretches = np.array_split(values, min(STRETCHES, len(values)))
    medians = np.array([statistics.median(stretch.tolist()) for stretch in stretches])
    count = len(medians)
    return Level(float(medians.mean()), float(medians.var(ddof=1)) / count, count - 1)


def between_runs(a: Sequence[Level], b: Sequence[Level], allowance: float) -> Interval:
    """The sum of b's levels less that of a's, under Welch's t test with an allowance.

    `allowance` is the standard deviation with which the level of one run differs from that of
    another, though nothing has changed. No run shows it, so that it is known beforehand, from
    repeated runs: its degrees of freedom are infinite. Welch's own test is that of 0.
    """
    from scipy import stats

    value = sum(one.value for one in b) - sum(one.value for one in a)
    levels = [*a, *b]
    variance = sum(one.variance for one in levels) + 2 * allowance**2
    if variance == 0:
        return Interval(value, value, value, 1.0 if value == 0 else 0.0)
    uncertain = sum(one.variance**2 / one.freedom for one in levels)
    freedom = variance**2 / uncertain if uncertain else np.inf
    error = variance**0.5
    reach = float(stats.t.ppf(1 - SIGNIFICANT / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Interval(value, value - reach, value + reach, p)


@dataclass(frozen=True)
class Survival:
    """A Kaplan–Meier curve: after each step in `steps`, the share that survives, 95 % interval."""

    steps: Floats
    share: Floats
    low: Floats
    high: Floats


def survival(steps: Sequence[int], failed: Sequence[bool]) -> Survival:
    """The Kaplan–Meier estimate of trials that failed, or were last seen alive, at `steps`.

    The interval is Greenwood's on the scale log(−log S), by SciPy.
    """
    from scipy import stats

    seen = np.asarray(steps, dtype=np.float64)
    ended = np.asarray(failed, dtype=bool)
    found = stats.ecdf(stats.CensoredData(uncensored=seen[ended], right=seen[~ended])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all or none survive
        ends = found.confidence_interval(CONFIDENCE, method="log-log")
    return Survival(
        found.quantiles, found.probabilities, ends.low.probabilities, ends.high.probabilities
    )
