"""What of each kind of case is compared, and how: `RULES` holds a rule for every kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eigbench.compare.match import Environments, Unit
from eigbench.compare.model import Answer
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.kinds.series import SeriesCase
from eigbench.kinds.stability import StabilityCase
from eigbench.kinds.train import TrainCase
from eigbench.report import stats
from eigbench.report.stats import Floats, Interval, Level, Share
from eigbench.runs.record import Record

REPEATING = 0.5
"""Machines that round alike repeat all eigenpairs but those of a method that was changed; of torch
2.14 and 2.15 none in float64 had the same residual, and some gradients at exact ties were finite in
one of them only."""


@dataclass(frozen=True)
class Quantity:
    """Something that cases are compared in, and how its changes are called."""

    name: str
    up: Answer
    down: Answer
    scale: Literal["ratio", "difference"] = "ratio"
    least: float = 1.0
    """A smaller factor is no change, however sure it is; of differences every one is."""

    def changed(self, change: float) -> Answer:
        """What a change is called that is no chance."""
        none = 1.0 if self.scale == "ratio" else 0.0
        if self.scale == "ratio" and 1 / self.least < change < self.least:
            return "no difference shown"
        return self.up if change > none else self.down


@dataclass(frozen=True)
class Finding:
    """One quantity of a case, before all tests of the comparison are corrected together."""

    quantity: Quantity
    values: Sequence[float]
    """In A and in B."""
    found: Interval | None = None
    """The difference b − a, of logarithms where the scale is a ratio; None if it was not tested."""
    relative_to: str | None = None
    given: Answer | None = None
    """The answer, if it does not depend on a test."""
    note: str = ""

    @property
    def change(self) -> float:
        """b/a or b − a: infinite where a is 0, NaN where it says nothing."""
        a, b = self.values
        if self.quantity.scale == "difference":
            return b - a
        if not (a >= 0 and b >= 0) or a == b == 0 or math.isinf(a) or math.isinf(b):
            return math.nan
        return b / a if a else math.inf


NEITHER = (math.nan, math.nan)


def _time(name: str) -> Quantity:
    return Quantity(name, "slower", "faster")


def _error(name: str) -> Quantity:
    # Less than a factor of two is what another order of additions makes of a rounding error.
    return Quantity(name, "less accurate", "more accurate", least=2.0)


SUCCESS = Quantity("success", "fails less", "fails more", scale="difference")
"""The share of finite gradients; of trainings, of finished trials."""
FAILURES = Quantity("failures", "fails more", "fails less", scale="difference")
TEST_ERROR = Quantity("test error", "less accurate", "more accurate", scale="difference")
DIFFERENT_VALUES = Quantity("values that differ", "changed", "changed", scale="difference")
GRADIENT_ERROR = _error("gradient error")

PASSES = ("forward", "backward", "update")
AMOUNTS = {
    name: Quantity(name.replace("_", " "), "more", "less", least=1.01 if "bytes" in name else 1.0)
    for name in (
        "peak_bytes", "saved_bytes", "forward_operators", "backward_operators",
        "update_operators", "kernels", "synchronisations",
    )
}  # fmt: skip
"""Metrics of a profile with one value that chance has no part in."""

LARGEST = {
    "gradient_error": _error("largest gradient error"),
    "neighbour_change": _error("neighbour change"),
    "precision_change": _error("precision change"),
    # How threads share a sum is the machine's affair too: more of it is not called worse.
    "repeat_change": Quantity("repeat change", "more", "less", least=2.0),
    "thread_change": Quantity("thread change", "more", "less", least=2.0),
}
"""Metrics of paths and invariances that must not be large anywhere: their largest is judged."""


@dataclass(frozen=True)
class Context:
    """What the rules must know of both runs."""

    environments: Environments
    pairs: Sequence[tuple[Unit, Unit]]

    @cached_property
    def repeating(self) -> frozenset[str]:
        """The dtypes in which both runs round alike, so that no change is one by chance.

        There most eigenpairs have the same residual in both, to the last digit. Another torch
        rounds in another way, wherever that shows.
        """
        same: dict[str, list[bool]] = {}
        for one, other in self.pairs if self.environments.same_torch else ():
            if isinstance(one.case, StabilityCase):
                a, b = (_values(unit.records[0], "forward_residual") for unit in (one, other))
                count = min(len(a), len(b))
                known = np.isfinite(a[:count]) & np.isfinite(b[:count])
                same.setdefault(one.case.dtype, []).extend((a[:count] == b[:count])[known])
        return frozenset(d for d, each in same.items() if each and np.mean(each) >= REPEATING)


def exact(quantity: Quantity, values: Sequence[float], note: str = "") -> Finding:
    """Two numbers that chance has no part in: they differ, or they do not."""
    bare = Finding(quantity, values, note=note)
    same = values[0] == values[1]
    return replace(bare, given="equal" if same else quantity.changed(bare.change))


def judge(a: Unit, b: Unit, context: Context) -> list[Finding]:
    """All quantities of two units that were matched."""
    if isinstance(a.case, TrainCase):
        return _train(a, b, context)
    one, other = a.records[0], b.records[0]
    if one.status == other.status == "measured":
        return RULES[type(a.case)](one, other, context)
    return _statuses([(one, other)])


def _statuses(pairs: Sequence[tuple[Record, Record]]) -> list[Finding]:
    """What became of the same cases in both runs, if it is not the same; else nothing.

    A failure that is new is worse and one that is gone is better, without a test: a method raised
    an exception, which it does not do by chance. A case that only one of the runs skipped is a
    change.
    """
    different = [(a, b) for a, b in pairs if a.status != b.status]
    failed = [
        float(sum(one.status == "failed" for one in side)) for side in zip(*pairs, strict=True)
    ]
    if not different and any(a.status == "measured" for a, _ in pairs):
        return []
    changes = Counter(f"{a.status} → {b.status}" for a, b in different)
    words = [f"{one} ({count} trials)" if count > 1 else one for one, count in changes.items()]
    reasons = dict.fromkeys(r.reason for pair in different for r in pair if r.reason)
    found = exact(FAILURES, failed, "; ".join([*words, *reasons]))
    return [replace(found, given="changed") if different and found.given == "equal" else found]


def _success(a: NDArray[np.bool_], b: NDArray[np.bool_], first: int, *, repeats: bool) -> Finding:
    """Where both runs round alike, a gradient lost or gained is a fact; else it is tested.

    `a`, `b`: whether each gradient is finite; `first`: the random seed of the first matrix.
    """
    lost, gained = (np.flatnonzero(some) + first for some in (a & ~b, ~a & b))
    note = "; ".join(
        f"{change}: {'matrices' if len(some) > 1 else 'matrix'} {', '.join(map(str, some))}"
        for change, some in (("lost", lost), ("gained", gained))
        if len(some)
    )
    found = exact(SUCCESS, (float(a.mean()), float(b.mean())), note)
    if not note or repeats:
        return replace(found, given="changed") if note and len(lost) == len(gained) else found
    p = stats.discordant(len(lost), len(gained))
    least_p = stats.discordant(len(lost) + len(gained), 0)
    return replace(found, given=None, found=Interval(found.change, p=p, least_p=least_p))


def _stability(a: Record, b: Record, context: Context) -> list[Finding]:
    """The matrices that both runs have: which gradients are finite, and how wrong they are."""
    assert isinstance(a.case, StabilityCase)  # noqa: S101
    assert isinstance(b.case, StabilityCase)  # noqa: S101
    count = min(a.case.seeds, b.case.seeds)
    finite = [_values(one, "gradient_finite")[:count] == 1 for one in (a, b)]
    errors = [_values(one, "gradient_error")[:count] for one in (a, b)]
    if {len(values) for values in (*finite, *errors)} != {count}:
        return [Finding(SUCCESS, NEITHER, note="a record lacks values")]
    found = [_success(finite[0], finite[1], a.case.seed, repeats=a.case.dtype in context.repeating)]
    both = np.logical_and.reduce([np.isfinite(one) & (one > 0) for one in errors])
    if both.any():
        medians = [stats.middle(one[both]) for one in errors]
        # Not of the quotient, which overflows where both are as far apart as floats go.
        logs = np.log(errors[1][both]) - np.log(errors[0][both])
        tested = Finding(GRADIENT_ERROR, medians, stats.paired(logs))
        found.append(tested if logs.any() else exact(GRADIENT_ERROR, medians))
    return found


def _probes(a: Record, b: Record, context: Context) -> list[Finding]:
    """Of a path or an invariance: how many values are finite, the largest, of errors the median.

    The positions of one path are not independent, and few seeds ask for invariance, so that there
    is no test: a number that differs is judged if both runs round alike.
    """
    assert isinstance(a.case, InvarianceCase | PathCase)  # noqa: S101
    repeats = a.case.dtype in context.repeating
    names = [name for name in LARGEST if a.values(name) and b.values(name)]
    if not names or any(len(a.values(name)) != len(b.values(name)) for name in names):
        return [Finding(SUCCESS, NEITHER, note="a record lacks values")]

    def judged(quantity: Quantity, one: Floats, other: Floats, value: Any) -> Finding:
        """`value` of these values: equal numbers say little where those behind them differ."""
        found = exact(quantity, (float(value(one)), float(value(other))))
        if found.given == "equal" and not np.array_equal(one, other):
            return replace(found, given="no difference shown" if repeats else None)
        return found if repeats or found.given == "equal" else replace(found, given=None)

    values = {name: (_values(a, name), _values(b, name)) for name in names}
    finite = [np.isfinite([pair[side] for pair in values.values()]) for side in (0, 1)]
    found = [judged(SUCCESS, finite[0], finite[1], np.mean)]
    for name, pair in values.items():
        both = np.isfinite(pair).all(axis=0)
        if both.any():
            if name == "gradient_error":
                found.append(judged(GRADIENT_ERROR, pair[0][both], pair[1][both], np.median))
            found.append(judged(LARGEST[name], pair[0][both], pair[1][both], np.max))
    return found


def _series(a: Record, b: Record, _context: Context) -> list[Finding]:
    """How many values are not the same."""
    different = {}
    for name in {**a.samples, **b.samples}:
        ours, theirs = a.samples.get(name, []), b.samples.get(name, [])  # NaN is a word here
        count = sum(one != other for one, other in zip(ours, theirs, strict=False))
        different[name] = count + abs(len(ours) - len(theirs))
    note = ", ".join(f"{name} ({count})" for name, count in different.items() if count)
    return [exact(DIFFERENT_VALUES, (0.0, float(sum(different.values()))), note)]


def _profile(a: Record, b: Record, context: Context) -> list[Finding]:
    """Times of all passes and of each, then memory and work."""
    passes = [name for name in PASSES if _seconds(a, [name]).size and _seconds(b, [name]).size]
    parts = {"time": passes, **{name: [name] for name in passes}}
    times = [_times(_time(name), part, (a, b), context) for name, part in parts.items()]
    amounts = [
        exact(quantity, a.values(metric) + b.values(metric))
        for metric, quantity in AMOUNTS.items()
        if len(a.values(metric)) == len(b.values(metric)) == 1
    ]
    return [effect for both in times for effect in both] + amounts


def _times(
    quantity: Quantity, passes: Sequence[str], records: tuple[Record, Record], context: Context
) -> list[Finding]:
    """The effect that is judged, and the other one beside it.

    The ratio to the reference takes the drift of a machine out of a time, and the machine itself.
    Under another torch the reference is another program, though, and its ratio does not say which
    of the two has changed: on the same machine the times do.
    """
    case, where = records[0].case, context.environments
    assert isinstance(case, ProfileCase)  # noqa: S101
    times_decide = where.same_machine and not where.same_torch
    logs = [np.log(_seconds(record, passes)) for record in records]
    seconds = _difference(quantity, logs, stats.TIME_SHARE, stats.TIME_BETWEEN_RUNS)
    references = [np.log(_seconds(record, passes, "reference_")) for record in records]
    if any(len(one) != len(other) for one, other in zip(logs, references, strict=True)):
        # Without a reference in the same rounds there is the time, if the machine is the same.
        found, judged = [seconds], where.same_machine
    else:
        ratios = [one - other for one, other in zip(logs, references, strict=True)]
        ratio = _difference(quantity, ratios, stats.RATIO_SHARE, stats.RATIO_BETWEEN_RUNS)
        ratio = replace(ratio, relative_to=REFERENCES[case.subject][0])
        found, judged = [seconds, ratio] if times_decide else [ratio, seconds], True
    # A reference is the same program in both runs: what changes is the machine.
    judged = judged and (times_decide or not case.is_reference)
    beside = [replace(one, given="not judged") for one in found]
    return [found[0], *beside[1:]] if judged else beside


def _train(one: Unit, other: Unit, context: Context) -> list[Finding]:
    """Trials of one cell: how many finished, their test errors, the time of a step.

    Steps are not timed in turn with a reference, so that another machine says nothing of them.
    """
    ours, theirs = ({r.case.seed: r for r in unit.records if isinstance(r.case, TrainCase)}
                    for unit in (one, other))  # fmt: skip
    found = _statuses([(ours[seed], theirs[seed]) for seed in ours if seed in theirs])
    a, b = ([r for r in unit.records if r.status != "skipped"] for unit in (one, other))
    if not a or not b:
        return found
    logs = [np.concatenate([_logs(_values(r, "step_seconds")) for r in trials])
            for trials in (a, b)]  # fmt: skip
    found += [_finished(a, b), _test_error(a, b)]
    if all(map(len, logs)):
        steps = _difference(_time("step time"), logs, stats.TIME_SHARE, stats.TIME_BETWEEN_RUNS)
        judged = context.environments.same_machine
        found.append(steps if judged else replace(steps, given="not judged"))
    return found


def ended(record: Record) -> str:
    """Its status; of a measured training "finished" or "diverged"."""
    if not isinstance(record.case, TrainCase) or record.status != "measured":
        return record.status
    return "finished" if record.labels.get("outcome") == ["finished"] else "diverged"


def _finished(*trials: Sequence[Record]) -> Finding:
    a, b = ((sum(ended(one) == "finished" for one in each), len(each)) for each in trials)
    note = " → ".join(f"{finished} of {count} finished" for finished, count in (a, b))
    found = exact(SUCCESS, (a[0] / a[1], b[0] / b[1]), note)
    if found.given == "equal":
        return found
    return replace(found, given=None, found=share_difference(a, b))


def share_difference(a: Share, b: Share) -> Interval:
    """The share of b less that of a; `least_p` is that of as many successes in both together.

    R. E. Tarone, A modified Bonferroni method for discrete data, 1990.
    """
    total = a[0] + b[0]
    extremes = {max(0, total - b[1]), min(a[1], total)}
    least_p = min(stats.fisher([((n, a[1]), (total - n, b[1]))]) for n in extremes)
    return replace(stats.share_difference([(b, a)]), least_p=least_p)


def _test_error(*trials: Sequence[Record]) -> Finding:
    a, b = (
        np.array([next(iter(one.values("test_error")), math.nan)
                  for one in each if ended(one) == "finished"])
        for each in trials
    )  # fmt: skip
    means = [float(one.mean()) if len(one) else math.nan for one in (a, b)]
    if len(a) and np.array_equal(a, b):
        return exact(TEST_ERROR, means)
    return Finding(TEST_ERROR, means, stats.mean_difference(b, a))


def _values(record: Record, name: str) -> Floats:
    return np.array(record.values(name), dtype=np.float64)


def _seconds(record: Record, passes: Sequence[str], of: str = "") -> Floats:
    """The sum of these passes by round `(rounds,)`; NaN where a clock gave nothing above 0."""
    columns = [_values(record, f"{of}{name}_seconds") for name in passes]
    if len({len(column) for column in columns}) != 1:
        return np.array([])
    seconds: Floats = np.sum([np.where(each > 0, each, np.nan) for each in columns], axis=0)
    return seconds


def _logs(seconds: Floats) -> Floats:
    return np.log(np.where(seconds > 0, seconds, np.nan))


def _difference(
    quantity: Quantity, logs: Sequence[Floats], share: float, allowance: float
) -> Finding:
    """The levels of both runs and their difference; none where one has too few rounds.

    `share` and `allowance` are how far runs differ though nothing has changed, see `stats`.
    """
    levels: list[Level] = [
        found.moved(share) for one in logs if (found := stats.level(one)) is not None
    ]
    if len(levels) < 2:
        return Finding(quantity, NEITHER, note="too few rounds, or a time that is none")
    values = [math.exp(level.value) for level in levels]
    return Finding(quantity, values, stats.between_runs(levels[:1], levels[1:], allowance))


RULES: dict[type[Any], Callable[[Record, Record, Context], list[Finding]]] = {
    StabilityCase: _stability,
    InvarianceCase: _probes,
    PathCase: _probes,
    SeriesCase: _series,
    ProfileCase: _profile,
}
"""By kind of case with one record, what is compared of it."""
