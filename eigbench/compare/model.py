"""What a comparison of two runs says, as plain immutable values, and the same as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set
from typing import Any, Literal, get_args

import msgspec

from eigbench.kinds import Case
from eigbench.runs.record import number

SCHEMA = 1

Answer = Literal[
    "fails more", "less accurate", "slower",
    "fails less", "more accurate", "faster",
    "more", "less", "changed",
    "no difference shown", "equal", "not tested",
    "not judged",
]  # fmt: skip
"""The last is of a number that is given beside the one that is judged."""

WORSE: tuple[Answer, ...] = ("fails more", "less accurate", "slower")
BETTER: tuple[Answer, ...] = ("fails less", "more accurate", "faster")
CHANGED: tuple[Answer, ...] = ("more", "less", "changed")
SHOWN = (*WORSE, *BETTER, *CHANGED)

Verdict = Literal[
    "worse", "better", "mixed", "changed",
    "no difference shown", "equal", "not tested", "not judged",
]  # fmt: skip
"""The last is of a reference, whose time is that of the machine."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity of a case: what it is in A and in B, and whether the difference is shown.

    What chance has no part in, and what was not tested, has no interval (NaN) and no p-value (NaN).
    """

    quantity: str
    """Such as "time", "backward", "success", "gradient error", "peak bytes", "failures"."""
    relative_to: str | None = None
    """The reference of the same run that the quantity is divided by, if it is."""
    a: float
    b: float
    scale: Literal["ratio", "difference"]
    change: float
    """B/A or B − A, as `scale` says: infinite where A is 0, NaN where there is none."""
    low: float
    high: float
    """The interval of `change` at 95 %."""
    p: float
    least_p: float
    """The smallest `p` that so many samples can give."""
    adjusted: float = math.nan
    """`p` after the correction for all tests of the comparison; NaN if it is not one of them."""
    answer: Answer
    regression: bool = False
    """Whether B is worse than A, beyond chance and by more than the least change that counts."""
    note: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a case ended in one of the runs."""

    ids: tuple[str, ...]
    """Of its records: one, or one a trial."""
    ended: dict[str, int]
    """How many of them ended so: "measured", "failed", "skipped"; "finished", "diverged"."""
    reasons: tuple[str, ...]
    """Why some failed or were skipped, each reason once."""


class CaseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One case of A and the same case of B; of trainings, one cell with all of its trials."""

    name: str
    """The method, and what else tells the case from the others that were compared."""
    case: Case
    """As it is in A."""
    differs: dict[str, tuple[str, str]]
    """In what the cases differ all the same, such as the device: in A, in B."""
    a: Outcome
    b: Outcome
    verdict: Verdict
    regression: bool
    """Whether one of its effects is a regression."""
    effects: tuple[Effect, ...]


def verdict(answers: Set[Answer]) -> Verdict:
    """All that is shown of a case in one word."""
    worse, better = answers & {*WORSE}, answers & {*BETTER}
    if worse or better:
        return "mixed" if worse and better else "worse" if worse else "better"
    if answers & {*CHANGED}:
        return "changed"
    if "no difference shown" in answers:
        return "no difference shown"
    # One number that is equal says nothing of another that could not be tested or judged.
    if answers == {"equal"}:
        return "equal"
    return "not tested" if "not tested" in answers or not answers else "not judged"


class Unmatched(msgspec.Struct, frozen=True, kw_only=True):
    """A case, or a cell, that only one of the runs has."""

    ids: tuple[str, ...]
    name: str
    case: Case


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs."""

    folder: str
    title: str
    started_at: str
    """Of its first session; "" if no environment is recorded."""
    recorded: int
    """Its cases; of trainings, its trials."""
    missing: int
    """How many more its suite has, of a run that was interrupted or is still going on."""
    only: tuple[Unmatched, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Run B compared with run A."""

    a: Side
    b: Side
    environment: dict[str, tuple[str, str]]
    """In what the environments differ: in A, in B. Empty if they are the same."""
    same_machine: bool
    same_torch: bool
    cases: tuple[CaseComparison, ...]
    tests: int
    """How many p-values were corrected together."""
    threshold: float
    """The least change of a time that counts as a regression, as a share."""

    @property
    def regressions(self) -> tuple[CaseComparison, ...]:
        """The cases in which B is worse than A."""
        return tuple(case for case in self.cases if case.regression)


def to_json(found: Comparison) -> str:
    """The whole comparison, one object a case; NaN and infinities are words, as in records."""
    verdicts = Counter(case.verdict for case in found.cases)
    answers = Counter(answer for case in found.cases for answer in {e.answer for e in case.effects})
    content = {
        "schema": SCHEMA,
        "a": found.a,
        "b": found.b,
        "environment": {
            "same_machine": found.same_machine,
            "same_torch": found.same_torch,
            "apart": [{"name": n, "a": a, "b": b} for n, (a, b) in found.environment.items()],
        },
        "summary": {
            "cases": len(found.cases),
            "only_in_a": len(found.a.only),
            "only_in_b": len(found.b.only),
            "verdicts": {verdict: verdicts[verdict] for verdict in get_args(Verdict)},
            "answers": {answer: answers[answer] for answer in (*WORSE, *BETTER)},
            "regressions": len(found.regressions),
            "threshold": found.threshold,
            "tests": found.tests,
        },
        "cases": found.cases,
    }
    plain = _plain(msgspec.to_builtins(content))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def _plain(value: Any) -> Any:
    """The same without floats that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return number(value) if isinstance(value, float) and not math.isfinite(value) else value
