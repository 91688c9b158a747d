"""From a difference to an answer: what is shown, in which direction, and whether it is worse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from eigbench.report.compare.result import BETTER, CHANGED, WORSE, Answer, Effect, Verdict
from eigbench.report.training.inference import SIGNIFICANT, Difference
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


@dataclass(frozen=True)
class Draft:
    """One quantity of a case, before it is known how many tests there are."""

    quantity: Quantity
    a: float
    b: float
    found: Difference | None = None
    """The difference b − a, of logarithms where the quantity's scale is a ratio; None if it cannot
    be told from chance, or if chance has no part in it."""
    relative_to: str | None = None
    given: Answer | None = None
    """The answer, if it does not depend on a test."""
    can_show: bool = True
    """Whether the test could have shown something; if not, it does not count among the tests
    (R. E. Tarone, A modified Bonferroni method for discrete data, 1990)."""
    note: str = ""

    @property
    def tested(self) -> bool:
        """Whether its p-value is one of those that are corrected together."""
        return self.given is None and self.found is not None and self.can_show


def exact(quantity: Quantity, a: float, b: float, note: str = "") -> Draft:
    """Two counts: they differ, or they do not."""
    if a == b:
        return Draft(quantity, a, b, given="equal", note=note)
    far = quantity.scale == "difference" or abs(_log_ratio(a, b)) >= math.log(quantity.least)
    changed = quantity.up if b > a else quantity.down
    return Draft(quantity, a, b, given=changed if far else "no difference shown", note=note)


def settle(draft: Draft, adjusted: float, threshold: float) -> Effect:
    """The effect, given its p-value after correction (NaN if it was not tested)."""
    found, quantity = draft.found, draft.quantity
    nothing = Difference(_change(draft), math.nan, math.nan, math.nan)
    shown = nothing if found is None else _on_scale(found, quantity)
    answer = draft.given or _answer(draft, adjusted)
    enough = not quantity.timed or shown.value > 1 + threshold
    return Effect(
        quantity=quantity.name,
        relative_to=draft.relative_to,
        a=draft.a,
        b=draft.b,
        scale=quantity.scale,
        change=shown.value,
        low=shown.low,
        high=shown.high,
        p=math.nan if answer == "not judged" else shown.p,
        adjusted=adjusted,
        answer=answer,
        regression=answer in WORSE and enough,
        note=draft.note,
    )


def verdict(effects: Iterable[Effect]) -> Verdict:
    """All that is shown of a case in one word."""
    answers = {effect.answer for effect in effects}
    worse, better = not answers.isdisjoint(WORSE), not answers.isdisjoint(BETTER)
    if worse and better:
        return "mixed"
    if worse or better:
        return "worse" if worse else "better"
    if not answers.isdisjoint(CHANGED):
        return "changed"
    if "no difference shown" in answers:
        return "no difference shown"
    # One number that is equal says nothing of another that could not be tested or judged.
    if answers == {"equal"}:
        return "equal"
    return "not tested" if "not tested" in answers or not answers else "not judged"


def _answer(draft: Draft, adjusted: float) -> Answer:
    if draft.found is None:
        return "not tested"
    far = draft.quantity.scale == "difference" or (
        abs(draft.found.value) >= math.log(draft.quantity.least)
    )
    if not adjusted < SIGNIFICANT or not far:
        return "no difference shown"
    return draft.quantity.up if draft.found.value > 0 else draft.quantity.down


def _change(draft: Draft) -> float:
    if draft.quantity.scale == "difference":
        return draft.b - draft.a
    return math.exp(_log_ratio(draft.a, draft.b))


def _log_ratio(a: float, b: float) -> float:
    """log(b/a): infinite where one of them is 0, NaN where that says nothing."""
    if not (a >= 0 and b >= 0) or a == b == 0 or math.isinf(a) or math.isinf(b):
        return math.nan
    if a == 0 or b == 0:
        return math.inf if a == 0 else -math.inf
    return math.log(b / a)


def _on_scale(found: Difference, quantity: Quantity) -> Difference:
    if quantity.scale == "difference":
        return found
    return Difference(_exp(found.value), _exp(found.low), _exp(found.high), found.p)


def _exp(logarithm: float) -> float:
    """Infinite where it is too large for a float, as the end of an interval can be."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf


TIME = Quantity("time", "slower", "faster", timed=True)
STEP_TIME = Quantity("step time", "slower", "faster", timed=True)
SUCCESS = Quantity("success", "fails less", "fails more", scale="difference")
STATUS = Quantity("failures", "fails more", "fails less", scale="difference")
TEST_ERROR = Quantity("test error", "less accurate", "more accurate", scale="difference")
GRADIENT_ERROR = Quantity("gradient error", "less accurate", "more accurate", least=2.0)
"""Less than a factor of two is what another order of additions makes of a rounding error."""


def pass_time(name: str) -> Quantity:
    """The time of one pass, such as "backward"."""
    return Quantity(name, "slower", "faster", timed=True)


def amount(name: str, least: float = 1.0) -> Quantity:
    """Something of which more is not called worse."""
    return Quantity(name, "more", "less", least=least)


def statuses(pairs: Sequence[tuple[Record, Record]]) -> list[Draft]:
    """What became of the same cases in both runs, if it is not the same; else nothing.

    A failure that is new is worse and one that is gone is better, without a test: a method raised
    an exception, which it does not do by chance. A case that only one of the runs skipped is a
    change.
    """
    apart = [(a, b) for a, b in pairs if a.status != b.status]
    before = float(sum(a.status == "failed" for a, _ in pairs))
    after = float(sum(b.status == "failed" for _, b in pairs))
    if not apart:
        measured = any(a.status == "measured" for a, _ in pairs)
        return [] if measured else [exact(STATUS, before, after)]
    words = Counter(f"{a.status} → {b.status}" for a, b in apart)
    reasons = dict.fromkeys(record.reason for pair in apart for record in pair if record.reason)
    said = [f"{word} ({count} trials)" if count > 1 else word for word, count in words.items()]
    given: Answer = "changed"
    if before != after:
        given = STATUS.up if after > before else STATUS.down
    return [Draft(STATUS, before, after, given=given, note="; ".join([*said, *reasons]))]
