"""What of each kind of case is compared, and how: the rules that the kinds name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from eigbench.compare.match import Pairs
from eigbench.compare.model import Answer, Effect
from eigbench.kinds.profile import REFERENCES
from eigbench.kinds.stability import StabilityCase
from eigbench.report import stats
from eigbench.report.stats import Floats, Interval
from eigbench.runs.record import Record

REPEATING = 0.5
"""Machines that round alike repeat all eigenpairs but those of a method that was changed; of torch
2.14 and 2.15 none in float64 had the same residual, and some gradients at exact ties were finite in
one of them only."""


@dataclass(frozen=True)
class Context:
    """What the rules must know of both runs."""

    same_machine: bool
    same_torch: bool
    repeating: frozenset[str]
    """The dtypes in which both runs round alike, so that no change is one by chance."""


Rule = Callable[[list[Record], list[Record], Context], list[Effect]]
"""What is compared of a case in A and in B: of one record each, or of the trials of a cell.

They are measured; of trials some may have ended in an exception.
"""


@dataclass(frozen=True)
class Quantity:
    """Something that cases are compared in, and how its changes are called."""

    name: str
    up: Answer
    down: Answer
    scale: Literal["ratio", "difference"] = "ratio"
    least: float = 1.0
    """A smaller factor is no change, however sure it is; of differences every one is."""

    def compare(
        self, a: float, b: float, *, same: bool, certain: bool = False, test: Interval | None = None
    ) -> Effect:
        """The effect of two numbers; a tested one has the answer that it has if it is shown.

        `same`: whether all values behind them are the same; `certain`: whether chance has no part
        in them. Else `test` is of b − a, of logarithms where the scale is a ratio.
        """
        found = Interval(self._change(a, b), least_p=math.nan)
        if test is not None and not same and not certain:
            found = test.exponential if self.scale == "ratio" else test
        answer: Answer = "equal" if same else "not tested"
        if not same and (certain or test is not None):
            answer = self._changed(found.value)
        return Effect(
            quantity=self.name, scale=self.scale, a=a, b=b, answer=answer,
            change=found.value, low=found.low, high=found.high, p=found.p, least_p=found.least_p,
        )  # fmt: skip

    def exact(self, a: float, b: float, note: str = "") -> Effect:
        """Two numbers that chance has no part in."""
        return replace(self.compare(a, b, same=a == b, certain=True), note=note)

    def _change(self, a: float, b: float) -> float:
        if self.scale == "difference":
            return b - a
        known = 0 <= a < math.inf and 0 <= b < math.inf and (a or b)
        return (b / a if a else math.inf) if known else math.nan

    def _changed(self, change: float) -> Answer:
        none = 1 if self.scale == "ratio" else 0
        if change == none or (self.scale == "ratio" and 1 / self.least < change < self.least):
            return "no difference shown"
        return self.up if change > none else self.down


SUCCESS = Quantity("success", "fails less", "fails more", "difference")
"""The share of finite gradients; of trainings, of finished trials."""
TEST_ERROR = Quantity("test error", "less accurate", "more accurate", "difference")
DIFFERENT_VALUES = Quantity("values that differ", "changed", "changed", "difference")


def error(name: str) -> Quantity:
    """An error: less than a factor of two is what another order of additions makes of it."""
    return Quantity(name, "less accurate", "more accurate", least=2.0)


GRADIENT_ERROR = error("gradient error")
LARGEST = {
    "gradient_error": error("largest gradient error"),
    "neighbour_change": error("neighbour change"),
    "precision_change": error("precision change"),
    # How threads share a sum is the machine's affair too: more of it is not called worse.
    "repeat_change": Quantity("repeat change", "more", "less", least=2.0),
    "thread_change": Quantity("thread change", "more", "less", least=2.0),
}
"""Metrics of paths and invariances that must not be large anywhere: their largest is judged."""

PASSES = ("forward", "backward", "update")
AMOUNTS = {
    name: Quantity(name.replace("_", " "), "more", "less", least=1.01 if "bytes" in name else 1.0)
    for name in (
        "peak_bytes", "saved_bytes", "forward_operators", "backward_operators",
        "update_operators", "kernels", "synchronisations",
    )
}  # fmt: skip
"""Metrics of a profile with one value that chance has no part in."""


def repeating(pairs: Pairs) -> frozenset[str]:
    """The dtypes in which most eigenpairs have the same residual in A and B, to the last digit."""
    same: dict[str, list[bool]] = {}
    for one, other in pairs:
        if isinstance(one.case, StabilityCase):
            a, b = _both([one.trials[0]], [other.trials[0]], "forward_residual")
            count = min(len(a), len(b))
            known = np.isfinite(a[:count]) & np.isfinite(b[:count])
            same.setdefault(one.case.dtype, []).extend((a[:count] == b[:count])[known])
    return frozenset(d for d, each in same.items() if each and np.mean(each) >= REPEATING)


def stability(a: list[Record], b: list[Record], context: Context) -> list[Effect]:
    """The matrices that both runs have: which gradients are finite, and how wrong they are."""
    case: Any = a[0].case
    count = min(getattr(one.case, "seeds", 0) for one in (a[0], b[0]))
    finite = [each[:count] == 1 for each in _both(a, b, "gradient_finite")]
    errors = [each[:count] for each in _both(a, b, "gradient_error")]
    if {len(each) for each in (*finite, *errors)} != {count}:
        return _lacking()
    found = [_finite(finite[0], finite[1], case.seed, alike=case.dtype in context.repeating)]
    known = np.all([np.isfinite(each) & (each > 0) for each in errors], axis=0)
    if known.any():
        ours, theirs = (each[known] for each in errors)
        test = stats.paired(np.log(theirs) - np.log(ours))
        medians = stats.middle(ours), stats.middle(theirs)
        same = np.array_equal(ours, theirs)
        found.append(GRADIENT_ERROR.compare(*medians, same=same, test=test))
    return found


def _finite(a: Any, b: Any, seed: int, *, alike: bool) -> Effect:
    """Which gradients are finite: where both runs round alike, one lost or gained is a fact.

    Elsewhere McNemar's exact test has to show it. `seed` is that of the first matrix.
    """
    lost, gained = (np.flatnonzero(some) + seed for some in (a & ~b, ~a & b))
    note = "; ".join(
        f"{change}: {'matrices' if len(some) > 1 else 'matrix'} {', '.join(map(str, some))}"
        for change, some in (("lost", lost), ("gained", gained))
        if len(some)
    )
    shares = float(a.mean()), float(b.mean())
    p, least_p = (stats.discordant(n, len(lost) + len(gained) - n) for n in (len(lost), 0))
    test = Interval(shares[1] - shares[0], p=p, least_p=least_p)
    found = SUCCESS.compare(*shares, same=not note, certain=alike, test=test)
    changed = note and alike and shares[0] == shares[1]
    return replace(found, note=note, answer="changed" if changed else found.answer)


def probes(a: list[Record], b: list[Record], context: Context) -> list[Effect]:
    """Of a path or an invariance: how many values are finite, the largest, of errors the median.

    The positions of one path are not independent, and few seeds ask for invariance, so that there
    is no test: a number that differs is judged if both runs round alike.
    """
    case: Any = a[0].case

    def judged(quantity: Quantity, value: Callable[[Any], Any], ours: Any, theirs: Any) -> Effect:
        one, other = float(value(ours)), float(value(theirs))
        same, certain = np.array_equal(ours, theirs), case.dtype in context.repeating
        return quantity.compare(one, other, same=same, certain=certain)

    pairs = {name: _both(a, b, name) for name in LARGEST}
    pairs = {name: pair for name, pair in pairs.items() if all(map(len, pair))}
    if not pairs or any(len(ours) != len(theirs) for ours, theirs in pairs.values()):
        return _lacking()
    finite = [np.isfinite([pair[side] for pair in pairs.values()]) for side in (0, 1)]
    found = [judged(SUCCESS, np.mean, *finite)]
    for name, pair in pairs.items():
        known = [each[np.isfinite(pair).all(axis=0)] for each in pair]
        if len(known[0]) and name == "gradient_error":
            found.append(judged(GRADIENT_ERROR, stats.middle, *known))
        if len(known[0]):
            found.append(judged(LARGEST[name], np.max, *known))
    return found


def series(a: list[Record], b: list[Record], _context: Context) -> list[Effect]:
    """How many values are not the same."""
    different = {}
    for name in {**a[0].samples, **b[0].samples}:
        ours, theirs = (side[0].samples.get(name, []) for side in (a, b))  # NaN is a word here
        different[name] = sum(one != other for one, other in zip_longest(ours, theirs))
    note = ", ".join(f"{name} ({count})" for name, count in different.items() if count)
    return [DIFFERENT_VALUES.exact(0.0, float(sum(different.values())), note)]


def profile(a: list[Record], b: list[Record], context: Context) -> list[Effect]:
    """Times of all passes and of each, then memory and work."""
    passes = [name for name in PASSES if all(map(len, _both(a, b, f"{name}_seconds")))]
    found = _times("time", passes, a[0], b[0], context)
    for name in passes:
        found += _times(name, [name], a[0], b[0], context)
    for metric, quantity in AMOUNTS.items():
        ours, theirs = _both(a, b, metric)
        if len(ours) == len(theirs) == 1:
            found.append(quantity.exact(float(ours[0]), float(theirs[0])))
    return found


def _times(
    name: str, passes: list[str], one: Record, other: Record, context: Context
) -> list[Effect]:
    """The effect that is judged, and the other one beside it.

    The ratio to the reference takes the drift of a machine out of a time, and the machine itself.
    Under another torch the reference is another program, though, and its ratio does not say which
    of the two has changed: on the same machine the times do.
    """
    case: Any = one.case
    logs = [_log_seconds(record, passes) for record in (one, other)]
    references = [_log_seconds(record, passes, "reference_") for record in (one, other)]
    found = [_time(name, logs, stats.TIME_SHARE, stats.TIME_BETWEEN_RUNS)]
    times_decide = context.same_machine and not context.same_torch
    # A reference is the same program in both runs: what changes is the machine.
    judged = times_decide or not case.is_reference
    if list(map(len, logs)) == list(map(len, references)):
        ratios = [own - reference for own, reference in zip(logs, references, strict=True)]
        ratio = _time(name, ratios, stats.RATIO_SHARE, stats.RATIO_BETWEEN_RUNS)
        ratio = replace(ratio, relative_to=REFERENCES[case.subject][0])
        found.insert(1 if times_decide else 0, ratio)
    else:  # there is only the time, if the machine is the same
        judged = judged and context.same_machine
    return [one if judged and one is found[0] else _not_judged(one) for one in found]


def train(a: list[Record], b: list[Record], context: Context) -> list[Effect]:
    """Trials of one cell: how many finished, their test errors, the time of a step.

    Steps are not timed in turn with a reference, so that another machine says nothing of them.
    """
    done = [[one for one in side if ended(one) == "finished"] for side in (a, b)]
    ours, theirs = (len(done[0]), len(a)), (len(done[1]), len(b))
    shares = ours[0] / ours[1], theirs[0] / theirs[1]
    note = " → ".join(f"{finished} of {trials} finished" for finished, trials in (ours, theirs))
    test = stats.share_difference(theirs, ours)
    success = SUCCESS.compare(*shares, same=shares[0] == shares[1], test=test)
    errors = [np.array([e for one in side for e in one.values("test_error")[:1]]) for side in done]
    means = stats.mean(errors[0]), stats.mean(errors[1])
    same = means[0] == means[1] and np.array_equal(errors[0], errors[1])
    test_of_means = stats.mean_difference(errors[1], errors[0])
    accuracy = TEST_ERROR.compare(*means, same=same, test=test_of_means)
    found = [replace(success, note=note), accuracy]
    logs = [np.concatenate([_log_seconds(one, ["step"]) for one in side]) for side in (a, b)]
    if all(map(len, logs)):
        step = _time("step time", logs, stats.TIME_SHARE, stats.TIME_BETWEEN_RUNS)
        found.append(step if context.same_machine else _not_judged(step))
    return found


def ended(record: Record) -> str:
    """Its status; of a measured training "finished" or "diverged"."""
    return next(iter(record.labels.get("outcome", ())), record.status)


def _both(a: Sequence[Record], b: Sequence[Record], name: str) -> tuple[Floats, Floats]:
    """All that the first record of each side has of a metric."""
    return np.array(a[0].values(name), dtype=float), np.array(b[0].values(name), dtype=float)


def _lacking() -> list[Effect]:
    return [replace(_unknown(SUCCESS), note="a record lacks values")]


def _unknown(quantity: Quantity) -> Effect:
    return quantity.compare(math.nan, math.nan, same=False)


def _not_judged(effect: Effect) -> Effect:
    """A number that is given beside the one that is judged."""
    return replace(effect, answer="not judged", p=math.nan, least_p=math.nan)


def _log_seconds(record: Record, passes: list[str], of: str = "") -> Floats:
    """The logarithm of the sum of these passes by round `(rounds,)`; NaN where one is no time.

    Empty where passes have not the same rounds.
    """
    columns = [np.array(record.values(f"{of}{name}_seconds"), dtype=float) for name in passes]
    if len({len(column) for column in columns}) != 1:
        return np.array([])
    times = np.array(columns)
    logs = np.log(np.where((times > 0) & np.isfinite(times), times, np.nan))
    with np.errstate(invalid="ignore"):
        summed: Floats = np.logaddexp.reduce(logs)
    return summed


def _time(name: str, logs: list[Floats], share: float, allowance: float) -> Effect:
    """The levels of two times and their difference; none where one has too few rounds.

    `share` and `allowance` are how far runs differ though nothing has changed, see `stats`.
    """
    quantity = Quantity(name, "slower", "faster")
    levels = [found.moved(share) for one in logs if (found := stats.level(one)) is not None]
    if len(levels) < 2:
        note = "too few rounds, or a time that is none"
        return replace(_unknown(quantity), note=note)
    with np.errstate(over="ignore"):
        a, b = np.exp([level.value for level in levels]).tolist()
    test = stats.between_runs(levels[:1], levels[1:], allowance)
    return quantity.compare(a, b, same=False, test=test)
