"""Numbers at both ends of float64 are compared as they are, without a warning or an error."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from eigbench.compare.model import CaseComparison, to_json
from eigbench.compare.text import to_markdown
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.train import TrainCase
from eigbench.runs.record import Record
from eigbench.runs.suite import cases
from tests.compare.making import (
    compared,
    effect_of,
    profile_suite,
    profiles,
    record,
    stability_case,
)
from tests.compare.test_stability import PATH
from tests.compare.test_stability import samples as measured
from tests.report import trainings

LARGE, LARGER = 1.2e308, 1.7e308
SMALL, SMALLER = 1e-323, 5e-324


def case_of(a: Record, b: Record) -> CaseComparison:
    """The only case, which is also written as text and as JSON."""
    found = compared([a], [b])
    json.loads(to_json(found), parse_constant=pytest.fail)
    assert "nan" not in to_markdown(found, everything=True)
    return found.cases[0]


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        ([LARGE, LARGER] * 4, [LARGE, LARGER] * 4, "equal"),
        ([SMALL, SMALLER] * 4, [SMALL, SMALLER] * 4, "equal"),
        ([LARGE] * 8, [LARGER] * 8, "not tested"),  # no two of the ratios differ
        ([LARGE, LARGER] * 4, [LARGER] * 8, "no difference shown"),
        ([SMALL, SMALLER] * 4, [LARGE, LARGER] * 4, "less accurate"),
        ([LARGE, LARGER] * 4, [SMALLER, SMALL] * 4, "more accurate"),
        ([1e-6, 2e-6] * 4, [LARGE, LARGE, LARGER, LARGER] * 2, "less accurate"),
    ],
)
def test_gradient_errors(before: list[float], after: list[float], answer: str) -> None:
    a, b = (record(stability_case(), measured(gradient_error=own)) for own in (before, after))
    case = case_of(a, b)
    effect = effect_of(case, "gradient error")
    assert effect.answer == answer
    assert min(before) <= effect.a <= max(before)
    assert min(after) <= effect.b <= max(after)


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [(LARGE, LARGE, "equal"), (SMALLER, SMALLER, "equal"),
     (SMALLER, LARGE, "less accurate"), (LARGE, SMALLER, "more accurate")],
)  # fmt: skip
def test_paths(before: float, after: float, answer: str) -> None:
    beside = record(stability_case(), measured())
    a, b = (record(PATH, {"gradient_error": [one, one]}) for one in (before, after))
    found = compared([beside, a], [beside, b])
    to_markdown(found, everything=True)
    effect = effect_of(found.cases[1], "gradient error")
    assert (effect.answer, effect.a, effect.b) == (answer, before, after)


@pytest.mark.parametrize(("seconds", "answer"), [(LARGE, "slower"), (SMALLER, "faster")])
def test_times(seconds: float, answer: str) -> None:
    of = profile_suite(d=[16])
    a, b = profiles(of, 1), profiles(of, 2)
    assert isinstance(b[-1].case, ProfileCase)
    passes = {name: [seconds] * 51 for name in ("forward_seconds", "backward_seconds")}
    b[-1] = msgspec.structs.replace(b[-1], samples={**b[-1].samples, **passes})
    found = compared(a, b, of)
    text = to_markdown(found, everything=True)
    assert max(map(len, text.splitlines())) < 200
    case = found.cases[-1]
    assert [effect_of(case, name).answer for name in ("time", "forward")] == [answer] * 2
    back = compared(b, a, of).cases[-1]
    assert effect_of(back, "time").answer != answer


@pytest.mark.parametrize(("low", "high"), [(LARGE, LARGER), (SMALLER, SMALL)])
def test_test_errors(low: float, high: float) -> None:
    of = trainings.suite(seeds=4)

    def run(*errors: float) -> list[Record]:
        records = []
        for case in cases(of):
            one = trainings.record(case)
            assert isinstance(case, TrainCase)
            error = [errors[case.seed]] if one.values("test_error") else []
            records.append(
                msgspec.structs.replace(one, samples={**one.samples, "test_error": error})
            )
        return records

    def answers(a: list[Record], b: list[Record]) -> set[str]:
        found = compared(a, b, of)
        to_markdown(found, everything=True)
        effects = [effect for case in found.cases for effect in case.effects]
        return {e.answer for e in effects if e.quantity == "test error" and not math.isnan(e.a)}

    assert answers(run(low, low, high, high), run(high, low, high, low)) == {"no difference shown"}
    assert answers(run(low, high, high, low), run(low, high, high, low)) == {"equal"}


def test_amounts() -> None:
    of = profile_suite(d=[16])
    a, b = profiles(of, 1), profiles(of, 1)
    huge = {"saved_bytes": [LARGE], "peak_bytes": [SMALLER], "kernels": [LARGER]}
    b[-1] = msgspec.structs.replace(b[-1], samples={**b[-1].samples, **huge})
    found = compared(a, b, of)
    assert effect_of(found.cases[-1], "saved bytes").answer == "more"
    text = to_markdown(found, everything=True)
    assert "1.2e+308" in text
    assert max(map(len, text.splitlines())) < 200
