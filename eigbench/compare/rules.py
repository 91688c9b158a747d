"""What of each kind of case is compared, and how: `RULES` holds a rule for every kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.compare import match
from eigbench.compare.effects import (
    SUCCESS,
    PendingEffect,
    Quantity,
    amount,
    error,
    exact,
    statuses,
    time,
)
from eigbench.compare.match import Pair, Unit
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
from eigbench.runs.store import Run

REPEATING = 0.5
"""Machines that round alike repeat all eigenpairs but those of a method that was changed; of torch
2.14 and 2.15 none in float64 had the same residual, and some gradients at exact ties were finite in
one of them only."""


GRADIENT_ERROR = error("gradient error")
TEST_ERROR = Quantity("test error", "less accurate", "more accurate", scale="difference")
DIFFERENT_VALUES = Quantity("values that differ", "changed", "changed", scale="difference")

PASSES = ("forward", "backward", "update")
AMOUNTS = {
    "peak_bytes": amount("peak bytes", least=1.01),
    "saved_bytes": amount("saved bytes", least=1.01),
    "forward_operators": amount("forward operators"),
    "backward_operators": amount("backward operators"),
    "update_operators": amount("update operators"),
    "kernels": amount("kernels"),
    "synchronisations": amount("synchronisations"),
}
"""Metrics of a profile with one value that chance has no part in."""

LARGEST = {
    "gradient_error": error("largest gradient error"),
    "neighbour_change": error("neighbour change"),
    "precision_change": error("precision change"),
    # How threads share a sum is the machine's affair too: more of it is not called worse.
    "repeat_change": amount("repeat change", 2.0),
    "thread_change": amount("thread change", 2.0),
}
"""Metrics of paths and invariances that must not be large anywhere: their largest is judged."""


@dataclass(frozen=True)
class Context:
    """The two runs, and what of them can be compared."""

    a: Run
    b: Run
    pairs: Sequence[Pair]

    @cached_property
    def same_machine(self) -> bool:
        """Whether seconds can be compared."""
        return match.same_machine(self.a, self.b)

    @cached_property
    def same_torch(self) -> bool:
        """Whether a reference, which is torch's own, is the same program in both."""
        return match.same_torch(self.a, self.b)

    @cached_property
    def repeating(self) -> frozenset[str]:
        """The dtypes in which both runs round alike, so that no change is one by chance.

        There most eigenpairs have the same residual in both, to the last digit. Another torch
        rounds in another way, wherever that shows.
        """
        same: dict[str, list[bool]] = {}
        for pair in self.pairs if self.same_torch else ():
            if isinstance(pair.a.case, StabilityCase):
                a, b = (_values(u.records[0], "forward_residual") for u in (pair.a, pair.b))
                count = min(len(a), len(b))
                known = np.isfinite(a[:count]) & np.isfinite(b[:count])
                same.setdefault(pair.a.case.dtype, []).extend((a[:count] == b[:count])[known])
        return frozenset(d for d, each in same.items() if each and np.mean(each) >= REPEATING)

    @cached_property
    def norms(self) -> tuple[dict[str, Unit], dict[str, Unit]]:
        """The first batch normalisation of each model that was trained, in each run."""
        found: tuple[dict[str, Unit], dict[str, Unit]] = ({}, {})
        for side, run in zip(found, (self.a, self.b), strict=True):
            for unit in match.units(run.records):
                if isinstance(unit.case, TrainCase) and unit.case.layer == "bn":
                    side.setdefault(unit.case.model, unit)
        return found


Rule = Callable[[Pair, Context], list[PendingEffect]]


def _of_records(rule: Callable[[Record, Record, Context], list[PendingEffect]]) -> Rule:
    """A rule for kinds of case with a single record: what both runs measured."""

    def judged(pair: Pair, context: Context) -> list[PendingEffect]:
        a, b = pair.a.records[0], pair.b.records[0]
        both = a.status == b.status == "measured"
        return rule(a, b, context) if both else statuses([(a, b)])

    return judged


def _stability(a: Record, b: Record, context: Context) -> list[PendingEffect]:
    """The matrices that both runs have: which gradients are finite, and how wrong they are."""
    names = ("forward_finite", "gradient_finite", "gradient_error")
    ours, theirs = a.case, b.case
    assert isinstance(ours, StabilityCase)  # noqa: S101
    assert isinstance(theirs, StabilityCase)  # noqa: S101
    if any(len(r.values(n)) != c.seeds for r, c in ((a, ours), (b, theirs)) for n in names):
        return [PendingEffect(SUCCESS, math.nan, math.nan, note="a record lacks values")]
    count = min(ours.seeds, theirs.seeds)
    errors = [_values(one, "gradient_error")[:count] for one in (a, b)]
    return [
        _success([_states(one)[:count] for one in (a, b)], ours.seed,
                 repeats=ours.dtype in context.repeating),
        *_gradient_error(*errors),
    ]  # fmt: skip


FINITE = "finite gradient"


def _states(record: Record) -> list[str]:
    flags = zip(record.values("gradient_finite"), record.values("forward_finite"), strict=True)
    return [
        FINITE if gradient == 1 else
        "gradient not finite" if eigenpairs == 1 else "eigenpairs not finite"
        for gradient, eigenpairs in flags
    ]  # fmt: skip


def _success(states: Sequence[Sequence[str]], seed: int, *, repeats: bool) -> PendingEffect:
    """Where both runs round alike, a gradient lost or gained is a fact; else it is tested."""
    ours, theirs = (np.array([state == FINITE for state in one]) for one in states)
    shares = float(ours.mean()), float(theirs.mean())
    lost, gained = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    moved: dict[str, list[str]] = {}
    for matrix, (one, other) in enumerate(zip(*states, strict=True), start=seed):
        if one != other:
            moved.setdefault(f"{one} → {other}", []).append(str(matrix))
    note = "; ".join(
        f"{change}: {'matrices' if len(some) > 1 else 'matrix'} {', '.join(some)}"
        for change, some in moved.items()
    )
    if lost == gained and (repeats or not lost):
        return PendingEffect(SUCCESS, *shares, given="changed" if note else "equal", note=note)
    if repeats:
        return exact(SUCCESS, *shares, note=note)
    found = Interval(
        shares[1] - shares[0], p=stats.discordant(lost, gained),
        least_p=stats.discordant(lost + gained, 0),
    )  # fmt: skip
    return PendingEffect(SUCCESS, *shares, found, note=note)


def _gradient_error(a: Floats, b: Floats) -> list[PendingEffect]:
    """Of the matrices with an error above 0 in both runs, the mean ratio; others are `_success`."""
    both = np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)
    if not both.any():
        return []
    medians = stats.middle(a[both]), stats.middle(b[both])
    logs = np.log(b[both] / a[both])
    if not logs.any():
        return [exact(GRADIENT_ERROR, *medians)]
    return [PendingEffect(GRADIENT_ERROR, *medians, stats.paired(logs))]


def _probes(a: Record, b: Record, context: Context) -> list[PendingEffect]:
    """Of a path or an invariance: how many values are finite, the largest, of errors the median.

    The positions of one path are not independent, and few seeds ask for invariance, so that there
    is no test: a number that differs is judged if both runs round alike.
    """
    assert isinstance(a.case, InvarianceCase | PathCase)  # noqa: S101
    repeats = a.case.dtype in context.repeating
    values = {
        name: (_values(a, name), _values(b, name))
        for name in LARGEST
        if a.values(name) and b.values(name)
    }
    if not values or any(len(one) != len(other) for one, other in values.values()):
        return [PendingEffect(SUCCESS, math.nan, math.nan, note="a record lacks values")]

    def judged(quantity: Quantity, one: float, other: float, *, same: bool) -> PendingEffect:
        """`same`: whether all values behind two numbers are; else equal numbers say little."""
        if same or (repeats and one != other):
            return exact(quantity, one, other)
        given: Answer | None = "no difference shown" if repeats else None
        return PendingEffect(quantity, one, other, given=given)

    ours, theirs = (np.isfinite([pair[side] for pair in values.values()]) for side in (0, 1))
    shares = float(ours.mean()), float(theirs.mean())
    found = [judged(SUCCESS, *shares, same=np.array_equal(ours, theirs))]
    for name, (one, other) in values.items():
        both = np.isfinite(one) & np.isfinite(other)
        if both.any():
            a_values, b_values = one[both], other[both]
            same = np.array_equal(a_values, b_values)
            if name == "gradient_error":
                medians = stats.middle(a_values), stats.middle(b_values)
                found.append(judged(GRADIENT_ERROR, *medians, same=same))
            largest = float(a_values.max()), float(b_values.max())
            found.append(judged(LARGEST[name], *largest, same=same))
    return found


def _series(a: Record, b: Record, _context: Context) -> list[PendingEffect]:
    """How many values are not the same, and the largest rounding error of a sum."""
    different = {}
    for name in dict.fromkeys([*a.samples, *b.samples]):
        ours, theirs = a.samples.get(name, []), b.samples.get(name, [])  # NaN is a word here
        count = sum(one != other for one, other in zip(ours, theirs, strict=False))
        different[name] = count + abs(len(ours) - len(theirs))
    note = ", ".join(f"{name} ({count})" for name, count in different.items() if count)
    found = [exact(DIFFERENT_VALUES, 0.0, float(sum(different.values())), note=note)]
    errors = [record.values("sum_rounding_error") for record in (a, b)]
    if all(errors):
        found.append(exact(error("rounding error"), max(errors[0]), max(errors[1])))
    return found


def _profile(a: Record, b: Record, context: Context) -> list[PendingEffect]:
    """Times of all passes and of each, then memory and work."""
    passes = [name for name in PASSES if _seconds(a, [name]).size and _seconds(b, [name]).size]
    found = [
        effect
        for name, part in {"time": passes, **{name: [name] for name in passes}}.items()
        if part
        for effect in _times(time(name), part, (a, b), context)
    ]
    if not found:
        note = "no pass was timed in both runs"
        found = [PendingEffect(time("time"), math.nan, math.nan, note=note)]
    found += [
        exact(quantity, a.values(metric)[0], b.values(metric)[0])
        for metric, quantity in AMOUNTS.items()
        if len(a.values(metric)) == len(b.values(metric)) == 1
    ]
    first = [record.values("first_call_seconds") for record in (a, b)]
    if all(len(values) == 1 for values in first):
        quantity = time("first call")
        found.append(PendingEffect(quantity, first[0][0], first[1][0], given="not judged"))
    return found


def _times(
    quantity: Quantity, passes: Sequence[str], records: tuple[Record, Record], context: Context
) -> list[PendingEffect]:
    """The effect that is judged, and the other one beside it.

    The ratio to the reference takes the drift of a machine out of a time, and the machine itself.
    Under another torch the reference is another program, though, and its ratio does not say which
    of the two has changed: on the same machine the times do.
    """
    case = records[0].case
    assert isinstance(case, ProfileCase)  # noqa: S101
    times_decide = context.same_machine and not context.same_torch
    logs = [np.log(_seconds(record, passes)) for record in records]
    levels = [_level(one, stats.TIME_SHARE) for one in logs]
    seconds = _difference(quantity, levels[:1], levels[1:], stats.TIME_BETWEEN_RUNS)
    # Without a reference in the same rounds there is the time, if the machine is the same.
    found = [seconds if context.same_machine else replace(seconds, given="not judged")]
    references = [np.log(_seconds(record, passes, "reference_")) for record in records]
    if all(len(own) == len(other) for own, other in zip(logs, references, strict=True)):
        levels = [
            _level(own - other, stats.RATIO_SHARE)
            for own, other in zip(logs, references, strict=True)
        ]
        ratio = _difference(quantity, levels[:1], levels[1:], stats.RATIO_BETWEEN_RUNS)
        ratio = replace(ratio, relative_to=REFERENCES[case.subject][0])
        judged, beside = (seconds, ratio) if times_decide else (ratio, seconds)
        found = [judged, replace(beside, given="not judged")]
    if case.is_reference and not times_decide:
        # The same program in both runs: what changes is the machine.
        return [replace(effect, given="not judged") for effect in found]
    return found


def _train(pair: Pair, context: Context) -> list[PendingEffect]:
    """Trials of one cell: how many finished, their test errors, the time of a step."""
    ours, theirs = ({r.case.seed: r for r in unit.records if isinstance(r.case, TrainCase)}
                    for unit in (pair.a, pair.b))  # fmt: skip
    found = statuses([(ours[seed], theirs[seed]) for seed in ours if seed in theirs])
    trials = [[r for r in u.records if r.status != "skipped"] for u in (pair.a, pair.b)]
    if all(trials):
        found += [_finished(*trials), _test_error(*trials), *_step_times(pair, context)]
    return found


def ended(record: Record) -> str:
    """Its status; of a measured training "finished" or "diverged"."""
    if not isinstance(record.case, TrainCase) or record.status != "measured":
        return record.status
    return "finished" if record.labels.get("outcome") == ["finished"] else "diverged"


def _finished(*trials: Sequence[Record]) -> PendingEffect:
    a, b = ((sum(ended(one) == "finished" for one in each), len(each)) for each in trials)
    note = " → ".join(f"{finished} of {count} finished" for finished, count in (a, b))
    shares = a[0] / a[1], b[0] / b[1]
    if shares[0] == shares[1]:
        return exact(SUCCESS, *shares, note)
    return PendingEffect(SUCCESS, *shares, share_difference(a, b), note=note)


def share_difference(a: Share, b: Share) -> Interval:
    """The share of b less that of a; `least_p` is that of as many successes in both together.

    R. E. Tarone, A modified Bonferroni method for discrete data, 1990.
    """
    total = a[0] + b[0]
    extremes = {max(0, total - b[1]), min(a[1], total)}
    least_p = min(stats.fisher([((n, a[1]), (total - n, b[1]))]) for n in extremes)
    return replace(stats.share_difference([(b, a)]), least_p=least_p)


def _test_error(*trials: Sequence[Record]) -> PendingEffect:
    a, b = (
        np.array([next(iter(one.values("test_error")), math.nan)
                  for one in each if ended(one) == "finished"])
        for each in trials
    )  # fmt: skip
    means = (
        float(a.mean()) if len(a) else math.nan,
        float(b.mean()) if len(b) else math.nan,
    )
    if len(a) and np.array_equal(a, b):
        return exact(TEST_ERROR, *means)
    return PendingEffect(TEST_ERROR, *means, stats.mean_difference(b, a))


def _step_times(pair: Pair, context: Context) -> list[PendingEffect]:
    """The time of a step, which is judged on the same machine; else its ratio to batch norm's.

    Batch normalisation was trained before, and not in turn. Its ratio takes out what the machine
    is, but not its drift, so that both have the allowance of a time.
    """
    quantity, allowance = time("step time"), stats.TIME_BETWEEN_RUNS
    case = pair.a.case
    assert isinstance(case, TrainCase)  # noqa: S101
    times = [_step_level(unit) for unit in (pair.a, pair.b)]
    if None in times:
        return []
    seconds = _difference(quantity, times[:1], times[1:], allowance)
    found = [seconds if context.same_machine else replace(seconds, given="not judged")]
    norms = [_step_level(norm[case.model]) for norm in context.norms if case.model in norm]
    if case.layer not in ("bn", "none") and len(norms) == 2 and None not in norms:
        below = [norm.inverse for norm in norms if norm]
        ratio = _difference(quantity, [times[0], below[0]], [times[1], below[1]], allowance)
        given: Answer | None = "not judged" if context.same_machine else None
        found.append(replace(ratio, relative_to="bn", given=given))
    return found


def _step_level(unit: Unit) -> Level | None:
    """Of the logarithms of all steps, trial after trial."""
    seconds = np.concatenate([_values(r, "step_seconds") for r in unit.records])
    return _level(np.log(np.where(seconds > 0, seconds, np.nan)), stats.TIME_SHARE)


def _values(record: Record, name: str) -> Floats:
    return np.array(record.values(name), dtype=np.float64)


def _seconds(record: Record, passes: Sequence[str], of: str = "") -> Floats:
    """The sum of these passes by round `(rounds,)`; NaN where a clock gave nothing above 0."""
    columns = [_values(record, f"{of}{name}_seconds") for name in passes]
    if len({len(column) for column in columns}) != 1:
        return np.array([])
    seconds: NDArray[np.float64] = np.sum(
        [np.where(column > 0, column, np.nan) for column in columns], axis=0
    )
    return seconds


def _level(values: Floats, share: float) -> Level | None:
    found = stats.level(values)
    return found and found.moved(share)


def _difference(
    quantity: Quantity, a: Sequence[Level | None], b: Sequence[Level | None], allowance: float
) -> PendingEffect:
    """Sums of levels of both runs and their difference, none where one has too few rounds."""
    ours, theirs = [one for one in a if one], [one for one in b if one]
    if len(ours) < len(a) or len(theirs) < len(b):
        note = "too few rounds, or a time that is none"
        return PendingEffect(quantity, math.nan, math.nan, note=note)
    values = (
        math.exp(sum(one.value for one in ours)),
        math.exp(sum(one.value for one in theirs)),
    )
    return PendingEffect(quantity, *values, stats.between_runs(ours, theirs, allowance))


RULES: dict[type[Any], Rule] = {
    StabilityCase: _of_records(_stability),
    InvarianceCase: _of_records(_probes),
    PathCase: _of_records(_probes),
    SeriesCase: _of_records(_series),
    ProfileCase: _of_records(_profile),
    TrainCase: _train,
}
"""By kind of case, what is compared of it."""
