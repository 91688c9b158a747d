"""One quantity of a case: pending until all tests are corrected together, then an effect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eigbench.compare.model import BETTER, CHANGED, WORSE, Answer, Effect, Verdict
from eigbench.report.stats import Decision, Interval
from eigbench.runs.record import Record


@dataclass(frozen=True)
class Quantity:
    """Something that cases are compared in, and how its changes are called."""

    name: str
    up: Answer
    down: Answer
    scale: Literal["ratio", "difference"] = "ratio"
    least: float = 1.0
    """A smaller factor is no change, however sure it is; of differences every one is."""
    timed: bool = False
    """Whether the threshold for times applies."""


def time(name: str) -> Quantity:
    """Something of which more is slower."""
    return Quantity(name, "slower", "faster", timed=True)


def error(name: str) -> Quantity:
    """Less than a factor of two is what another order of additions makes of a rounding error."""
    return Quantity(name, "less accurate", "more accurate", least=2.0)


def amount(name: str, least: float = 1.0) -> Quantity:
    """Something of which more is not called worse."""
    return Quantity(name, "more", "less", least=least)


SUCCESS = Quantity("success", "fails less", "fails more", scale="difference")
"""The share of finite gradients; of trainings, of finished trials."""
FAILURES = Quantity("failures", "fails more", "fails less", scale="difference")


@dataclass(frozen=True)
class PendingEffect:
    """One quantity of a case, before all tests of the comparison are corrected together."""

    quantity: Quantity
    a: float
    b: float
    found: Interval | None = None
    """The difference b − a, of logarithms where the scale is a ratio; None if it was not tested."""
    relative_to: str | None = None
    given: Answer | None = None
    """The answer, if it does not depend on a test."""
    note: str = ""

    @property
    def change(self) -> float:
        """b/a or b − a: infinite where a is 0, NaN where it says nothing."""
        a, b = self.a, self.b
        if self.quantity.scale == "difference":
            return b - a
        if not (a >= 0 and b >= 0) or a == b == 0 or math.isinf(a) or math.isinf(b):
            return math.nan
        return b / a if a else math.inf

    def counts(self, ratio: float) -> bool:
        """Whether a change is as large as the quantity's least."""
        if self.quantity.scale == "difference":
            return True
        return not 1 / self.quantity.least < ratio < self.quantity.least


def exact(quantity: Quantity, a: float, b: float, note: str = "") -> PendingEffect:
    """Two numbers that chance has no part in: they differ, or they do not."""
    pending = PendingEffect(quantity, a, b, given="equal", note=note)
    if a == b:
        return pending
    changed = quantity.up if b > a else quantity.down
    return replace(
        pending, given=changed if pending.counts(pending.change) else "no difference shown"
    )


def finalize(pending: PendingEffect, decision: Decision, threshold: float) -> Effect:
    """The effect, now that its p-value is corrected."""
    quantity, found = pending.quantity, pending.found
    change, low, high = pending.change, math.nan, math.nan
    if found is not None:
        ends = np.array([found.value, found.low, found.high])
        with np.errstate(over="ignore"):
            change, low, high = (ends if quantity.scale == "difference" else np.exp(ends)).tolist()
    answer: Answer = "no difference shown"
    if pending.given:
        answer = pending.given
    elif decision.answer == "not tested":
        answer = "not tested"
    elif decision.shown and pending.counts(change):
        answer = quantity.up if decision.answer == "higher" else quantity.down
    return Effect(
        quantity=quantity.name,
        relative_to=pending.relative_to,
        a=pending.a,
        b=pending.b,
        scale=quantity.scale,
        change=change,
        low=low,
        high=high,
        p=math.nan if answer == "not judged" or found is None else found.p,
        adjusted=decision.adjusted,
        answer=answer,
        regression=answer in WORSE and (not quantity.timed or change > 1 + threshold),
        note=pending.note,
    )


def verdict(effects: Sequence[Effect]) -> Verdict:
    """All that is shown of a case in one word."""
    answers = {effect.answer for effect in effects}
    worse, better = not answers.isdisjoint(WORSE), not answers.isdisjoint(BETTER)
    if worse or better:
        return "mixed" if worse and better else "worse" if worse else "better"
    if not answers.isdisjoint(CHANGED):
        return "changed"
    if "no difference shown" in answers:
        return "no difference shown"
    # One number that is equal says nothing of another that could not be tested or judged.
    if answers == {"equal"}:
        return "equal"
    return "not tested" if "not tested" in answers or not answers else "not judged"


def statuses(pairs: Sequence[tuple[Record, Record]]) -> list[PendingEffect]:
    """What became of the same cases in both runs, if it is not the same; else nothing.

    A failure that is new is worse and one that is gone is better, without a test: a method raised
    an exception, which it does not do by chance. A case that only one of the runs skipped is a
    change.
    """
    different = [(a, b) for a, b in pairs if a.status != b.status]
    before = float(sum(a.status == "failed" for a, _ in pairs))
    after = float(sum(b.status == "failed" for _, b in pairs))
    if not different:
        measured = any(a.status == "measured" for a, _ in pairs)
        return [] if measured else [exact(FAILURES, before, after)]
    changes = Counter(f"{a.status} → {b.status}" for a, b in different)
    reasons = dict.fromkeys(r.reason for pair in different for r in pair if r.reason)
    words = [f"{one} ({count} trials)" if count > 1 else one for one, count in changes.items()]
    given: Answer = "changed"
    if before != after:
        given = FAILURES.up if after > before else FAILURES.down
    return [PendingEffect(FAILURES, before, after, given=given, note="; ".join([*words, *reasons]))]
