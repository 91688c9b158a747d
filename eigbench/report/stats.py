"""The statistics of every report: intervals, tests, and the one rule of when a difference is shown.

A difference is shown if its p-value, corrected for all the differences that are asked together
(Benjamini and Hochberg, 1995), is below 0.05. A test that no outcome could bring below 0.05 is not
asked: it is reported as one that cannot show anything.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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
    if not p_values:
        return []
    raised: list[float] = stats.false_discovery_control(p_values, method="bh").tolist()
    return raised


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


@functools.cache
def _sign_test(below: int, equal: int, above: int) -> tuple[float, float, float]:
    """The p-value, and the places of the interval's ends among the values in order.

    Of values with so many below the median that is tested, equal to it and above it. Reports ask
    this thousands of times of a few dozen counts, and SciPy takes a millisecond.
    """
    signs = np.repeat([-1.0, 0.0, 1.0], [below, equal, above])
    places = stats.quantile_test(np.arange(len(signs)), q=0, p=0.5).confidence_interval(CONFIDENCE)
    p_value = stats.quantile_test(signs, q=0, p=0.5).pvalue
    return float(p_value), float(places.low), float(places.high)


def share(successes: int, trials: int) -> Interval:
    """A share with its Wilson interval (E. B. Wilson, 1927); NaN, from 0 to 1, of no trials."""
    if not trials:
        return Interval(math.nan, 0.0, 1.0)
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def hazard(failures: int, steps: int) -> Interval:
    """Failures per step, with the exact (Clopper and Pearson, 1934) 95 % interval.

    Without a failure the upper end is one-sided, `1 − 0.05^(1/steps)`, about 3/steps: the rule of
    three.
    """
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


def fisher(strata: Sequence[tuple[Share, Share]]) -> float:
    """The p-value of two shares under Fisher's exact test, stratified; 1 of no strata.

    Each stratum, such as a condition of a run, has its own margins, and the successes of the first
    share are added up over them: what differs between strata is not taken for a difference between
    the shares.
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


def least_fisher(sizes: Sequence[tuple[int, int]]) -> float:
    """The least p-value that `fisher` could give for strata with so many trials on each side."""
    return fisher([((0, one), (other, other)) for one, other in sizes]) if sizes else 1.0


def share_difference(strata: Sequence[tuple[Share, Share]]) -> Interval:
    """The first share less the second under Fisher's exact test, stratified.

    The interval is that of the pooled shares, the tenth of R. G. Newcombe, 1998: of both Wilson
    intervals, squared and added. It is not the test's own.
    """
    one = (sum(a for (a, _), _ in strata), sum(n for (_, n), _ in strata))
    other = (sum(b for _, (b, _) in strata), sum(n for _, (_, n) in strata))
    first, second = share(*one), share(*other)
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    least = least_fisher([(a[1], b[1]) for a, b in strata])
    return Interval(value, value - below, value + above, fisher(strata), least)


def discordant(lost: int, gained: int) -> float:
    """The p-value of so many losses and gains among pairs: McNemar's test, exact."""
    if lost + gained == 0:
        return 1.0
    return float(stats.binomtest(lost, lost + gained).pvalue)


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
    medians = np.array([np.median(stretch) for stretch in stretches])
    count = len(medians)
    return Level(float(medians.mean()), float(medians.var(ddof=1)) / count, count - 1)


def between_runs(a: Sequence[Level], b: Sequence[Level], allowance: float) -> Interval:
    """The sum of b's levels less that of a's, under Welch's t test with an allowance.

    `allowance` is the standard deviation with which the level of one run differs from that of
    another, though nothing has changed. No run shows it, so that it is known beforehand, from
    repeated runs: its degrees of freedom are infinite. Welch's own test is that of 0.
    """
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
    at_risk: Floats


def survival(steps: Sequence[int], failed: Sequence[bool]) -> Survival:
    """The Kaplan–Meier estimate of trials that failed, or were last seen alive, at `steps`.

    The interval is Greenwood's on the scale log(−log S), by SciPy.
    """
    seen = np.asarray(steps, dtype=np.float64)
    ended = np.asarray(failed, dtype=bool)
    found = stats.ecdf(stats.CensoredData(uncensored=seen[ended], right=seen[~ended])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all or none survive
        ends = found.confidence_interval(CONFIDENCE, method="log-log")
    at_risk = np.array([(seen >= step).sum() for step in found.quantiles], dtype=np.float64)
    return Survival(
        found.quantiles, found.probabilities, ends.low.probabilities, ends.high.probabilities,
        at_risk,
    )  # fmt: skip
