"""A comparison as JSON: one object a case, its keys described in the user's guide."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, get_args

import msgspec

from eigbench.report.compare.result import BETTER, WORSE, Comparison, Verdict
from eigbench.runs.record import number

SCHEMA = 1


def to_json(found: Comparison) -> str:
    """The whole comparison; NaN and infinities are written as words, as in records."""
    values = msgspec.to_builtins(found)
    cases = values["cases"]
    for case, own in zip(cases, found.cases, strict=True):
        case["regression"] = own.regression
    verdicts = Counter(case.verdict for case in found.cases)
    answers = Counter(answer for case in found.cases for answer in {e.answer for e in case.effects})
    content = {
        "schema": SCHEMA,
        "a": values["a"],
        "b": values["b"],
        "environment": {
            "same_machine": found.same_machine,
            "same_torch": found.same_torch,
            "apart": values["environment"],
        },
        "summary": {
            "cases": len(cases),
            "only_in_a": len(found.a.only),
            "only_in_b": len(found.b.only),
            "verdicts": {verdict: verdicts[verdict] for verdict in get_args(Verdict)},
            "answers": {answer: answers[answer] for answer in (*WORSE, *BETTER)},
            "regressions": len(found.regressions),
            "threshold": found.threshold,
            "tests": found.tests,
        },
        "cases": cases,
    }
    return msgspec.json.format(msgspec.json.encode(_plain(content)), indent=2).decode() + "\n"


def _plain(value: Any) -> Any:
    """The same without floats that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else number(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
