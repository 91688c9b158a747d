"""Cells of trainings: success, test error, the time of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from eigbench.compare.model import CaseComparison, Comparison
from eigbench.kinds.train import TrainCase
from eigbench.runs.record import Record
from eigbench.runs.suite import cases
from tests.compare.making import case_of, compared, effect_of, here
from tests.report import trainings

SUITE = trainings.suite(seeds=6)
RECORDS = [trainings.record(case) for case in cases(SUITE)]
HYBRID = "hybrid, d = 4"
OTHER_MACHINE = (here(), here(processor="Intel"))

Change = Callable[[Record, TrainCase], dict[str, Any]]
"""What is changed of a record."""


def changed(change: Change) -> list[Record]:
    """The same run with some of the cell `HYBRID` changed."""
    found = []
    for one in RECORDS:
        assert isinstance(one.case, TrainCase)
        ours = (one.case.method, one.case.d) == ("hybrid", 4)
        found.append(msgspec.structs.replace(one, **change(one, one.case)) if ours else one)
    return found


def found(change: Change, **options: Any) -> tuple[Comparison, CaseComparison]:
    result = compared(RECORDS, changed(change), SUITE, **options)
    return result, case_of(result, HYBRID)


def with_error(add: float) -> Change:
    def change(one: Record, _case: TrainCase) -> dict[str, Any]:
        return {"samples": {**one.samples, "test_error": [one.values("test_error")[0] + add]}}

    return change


def diverged(*seeds: int) -> Change:
    def change(one: Record, case: TrainCase) -> dict[str, Any]:
        if case.seed not in seeds:
            return {}
        return {"labels": {**one.labels, "outcome": ["diverged"], "cause": ["loss not finite"]},
                "samples": {**one.samples, "test_error": []}}  # fmt: skip

    return change


def test_the_same_records_show_nothing() -> None:
    result, case = found(lambda _one, _case: {})
    assert len(result.cases) == 11
    assert {case.verdict for case in result.cases} <= {"no difference shown", "equal"}
    assert result.regressions == ()
    assert effect_of(case, "success").answer == "equal"
    assert effect_of(case, "test error").answer == "equal"


@pytest.mark.parametrize(("add", "answer"), [(0.2, "less accurate"), (-0.2, "more accurate")])
def test_a_test_error_that_moved(add: float, answer: str) -> None:
    result, case = found(with_error(add))
    effect = effect_of(case, "test error")
    assert effect.answer == answer
    assert effect.change == pytest.approx(add)
    theirs = [e for one in RECORDS if isinstance(one.case, TrainCase)
              and (one.case.method, one.case.d) == ("hybrid", 4)
              for e in one.values("test_error")]  # fmt: skip
    test = stats.ttest_ind(np.array(theirs) + add, theirs, equal_var=False)
    assert effect.p == pytest.approx(test.pvalue)
    assert (effect.low, effect.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert bool(result.regressions) is (add > 0)


def test_a_test_error_that_moved_less_than_trials_differ() -> None:
    _, case = found(with_error(0.001))
    assert effect_of(case, "test error").answer == "no difference shown"


def test_trials_that_diverge() -> None:
    result, case = found(diverged(*range(6)))
    effect = effect_of(case, "success")
    assert (effect.answer, effect.a, effect.b) == ("fails more", 1, 0)
    assert effect.note == "6 of 6 finished → 0 of 6 finished"
    assert effect.p == pytest.approx(stats.fisher_exact([[6, 0], [0, 6]]).pvalue)
    assert case.b.ended == {"diverged": 6}
    assert [case.name for case in result.regressions] == [HYBRID]


def test_trials_that_no_longer_diverge() -> None:
    of = SUITE
    result = compared(changed(diverged(*range(6))), RECORDS, of)
    assert effect_of(case_of(result, HYBRID), "success").answer == "fails less"
    assert result.regressions == ()


def test_one_diverged_trial_shows_nothing() -> None:
    result, case = found(diverged(2))
    assert effect_of(case, "success").answer == "no difference shown"
    assert result.regressions == ()


def test_three_trials_cannot_show_that_all_diverge() -> None:
    """Such tests do not count among those that are corrected for."""
    few = [one for one in RECORDS if isinstance(one.case, TrainCase) and one.case.seed < 3]
    worse = [one for one in changed(diverged(0, 1, 2))
             if isinstance(one.case, TrainCase) and one.case.seed < 3]  # fmt: skip
    result = compared(few, worse, SUITE)
    same = compared(few, few, SUITE)
    effect = effect_of(case_of(result, HYBRID), "success")
    assert effect.answer == "no difference shown"
    assert effect.p == pytest.approx(0.1)
    assert np.isnan(effect.adjusted)
    assert result.tests == same.tests


def test_an_exception_is_a_failure_without_a_test() -> None:
    def change(_one: Record, case: TrainCase) -> dict[str, Any]:
        if case.seed != 2:
            return {}
        return {"status": "failed", "reason": "RuntimeError: no", "samples": {}, "labels": {}}

    result, case = found(change)
    effect = effect_of(case, "failures")
    assert (effect.answer, effect.a, effect.b) == ("fails more", 0, 1)
    assert effect.note == "measured → failed; RuntimeError: no"
    assert case.b.ended == {"finished": 5, "failed": 1}
    assert [case.name for case in result.regressions] == [HYBRID]


@pytest.mark.parametrize(("factor", "answer"), [(4.0, "slower"), (0.25, "faster"),
                                                (1.2, "no difference shown")])  # fmt: skip
def test_steps(factor: float, answer: str) -> None:
    def change(one: Record, _case: TrainCase) -> dict[str, Any]:
        steps = [factor * seconds for seconds in one.values("step_seconds")]
        return {"samples": {**one.samples, "step_seconds": steps}}

    result, case = found(change)
    effect = effect_of(case, "step time")
    assert effect.answer == answer
    assert effect.change == pytest.approx(factor)
    assert bool(result.regressions) is (answer == "slower")
    _, there = found(change, where=OTHER_MACHINE)
    beside = effect_of(there, "step time", judged=False)  # the machine may have done that
    assert beside.change == pytest.approx(factor)


def test_a_slower_machine_is_no_regression() -> None:
    slow = [
        msgspec.structs.replace(one, samples={
            **one.samples, "step_seconds": [9 * s for s in one.values("step_seconds")]})
        for one in RECORDS
    ]  # fmt: skip
    result = compared(RECORDS, slow, SUITE, where=OTHER_MACHINE)
    assert result.regressions == ()
    assert effect_of(case_of(result, "bn"), "step time", judged=False).change == pytest.approx(9)


def test_other_images_are_named() -> None:
    def change(one: Record, _case: TrainCase) -> dict[str, Any]:
        return {"labels": {**one.labels, "data": ["cifar10-mini", "2" * 64, "1" * 64]}}

    result, case = found(change)
    assert case.differs == {"images": ("00000000/11111111", "22222222/11111111")}
    assert [one.name for one in result.cases if one.differs] == [HYBRID]


def test_trials_that_never_finished_have_no_error_to_compare() -> None:
    every = changed(diverged(*range(6)))
    case = case_of(compared(every, every, SUITE), HYBRID)
    assert effect_of(case, "test error").answer == "not tested"
    assert effect_of(case, "success").answer == "equal"
