"""Stability, paths, invariances and series on the same matrices: gradients lost, and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from eigbench.compare.model import CaseComparison, Comparison, Effect
from eigbench.compare.rules import Context, probes
from eigbench.compare.text import to_markdown
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.kinds.series import SeriesCase
from eigbench.runs.record import Record
from tests.compare.making import compared, effect_of, here, record, stability_case

SEEDS = 8
ERRORS = [1e-6, 2e-6, 1e-6, 3e-6, 1e-6, 2e-6, 1e-6, 1e-6]


def samples(**changes: list[float]) -> dict[str, list[float]]:
    fine = {
        "forward_finite": [1.0] * SEEDS,
        "gradient_finite": [1.0] * SEEDS,
        "gradient_error": ERRORS,
        "forward_residual": [1e-7 + 1e-9 * seed for seed in range(SEEDS)],
    }
    return {**fine, **changes}


def lost(
    *seeds: int, flag: str = "gradient_finite", **changes: list[float]
) -> dict[str, list[float]]:
    """Some seeds without a finite gradient."""
    flags = [0.0 if seed in seeds else 1.0 for seed in range(SEEDS)]
    errors = [math.nan if seed in seeds else e for seed, e in enumerate(ERRORS)]
    return samples(**{"gradient_finite": flags, flag: flags, "gradient_error": errors, **changes})


def found(
    a: dict[str, list[float]], b: dict[str, list[float]], rounding: float = 0.0
) -> tuple[Comparison, CaseComparison]:
    """Two runs of one case; with some rounding the eigenpairs differ in their last digits."""
    other = {**b, "forward_residual": [r + rounding for r in b["forward_residual"]]}
    case = stability_case()
    result = compared([record(case, a)], [record(case, other)])
    return result, result.cases[0]


def test_the_same_numbers_are_equal() -> None:
    result, case = found(samples(), samples())
    assert case.verdict == "equal"
    assert result.tests == 0


APART = 1e-12
"""What eigenpairs differ by on machines that do not round alike."""


@pytest.mark.parametrize(
    ("failed", "rounding", "expected"),
    [
        (((), (3,)), 0.0, ("fails more", "lost: matrix 3", math.nan)),
        (((3, 5), ()), 0.0, ("fails less", "gained: matrices 3, 5", math.nan)),
        (((3,), (5,)), 0.0, ("changed", "lost: matrix 5; gained: matrix 3", math.nan)),
        # Named all the same, though it may be chance.
        (((), (3,)), APART, ("no difference shown", "lost: matrix 3", 1.0)),
        (((), (3, 5)), APART, ("no difference shown", "lost: matrices 3, 5", 0.5)),
        (((), range(7)), APART, ("fails more", "lost: matrices 0, 1, 2, 3, 4, 5, 6", 2 / 2**7)),
    ],
)
def test_gradients_that_are_lost_or_gained(
    failed: tuple[Sequence[int], Sequence[int]], rounding: float,
    expected: tuple[str, str, float],
) -> None:  # fmt: skip
    result, case = found(lost(*failed[0]), lost(*failed[1]), rounding)
    effect, (answer, note, p) = effect_of(case, "success"), expected
    assert (effect.answer, effect.note) == (answer, note)
    assert (effect.a, effect.b) == tuple(1 - len(some) / SEEDS for some in failed)
    assert effect.p == pytest.approx(p, nan_ok=True)
    assert bool(result.regressions) is (answer == "fails more")


def test_another_torch_may_round_differently_even_if_eigenpairs_do_not_show_it() -> None:
    case = stability_case()
    where = (here(), here(packages={"torch": "2.15.0"}))
    a, b = record(case, samples()), record(case, lost(3))
    result = compared([a], [b], where=where)
    assert result.regressions == ()
    text = to_markdown(result)
    assert "- **no difference shown** (lost: matrix 3): eigh" in text


def test_precisions_repeat_by_themselves() -> None:
    """Eigenpairs in float64 are rounded differently here, those in float32 are the same."""
    single, double = (stability_case(dtype=dtype) for dtype in ("float32", "float64"))
    other = {**lost(3), "forward_residual": [2e-16] * SEEDS}
    a = [record(case, samples()) for case in (single, double)]
    result = compared(a, [record(single, lost(3)), record(double, other)])
    answers = [effect_of(case, "success").answer for case in result.cases]
    assert answers == ["fails more", "no difference shown"]


@pytest.mark.parametrize(
    ("factor", "answer"),
    [(5.0, "less accurate"), (0.2, "more accurate"), (1.5, "no difference shown")],
)
def test_gradient_errors(factor: float, answer: str) -> None:
    draw = np.random.default_rng(0)
    errors = [factor * e * math.exp(draw.normal(0, 0.1)) for e in ERRORS]
    result, case = found(samples(), samples(gradient_error=errors))
    effect = effect_of(case, "gradient error")
    assert effect.answer == answer
    logs = np.log(np.array(errors) / ERRORS)
    theirs = stats.ttest_1samp(logs, 0)
    assert effect.change == pytest.approx(math.exp(logs.mean()))
    assert effect.p == pytest.approx(theirs.pvalue)
    assert effect.p < 0.05  # 1.5 is sure as well, and less than what counts
    assert (effect.low, effect.high) == pytest.approx(tuple(np.exp(theirs.confidence_interval())))
    assert bool(result.regressions) is (answer == "less accurate")


def test_errors_of_seeds_that_failed_in_one_run_are_left_to_success() -> None:
    worse = lost(0, 1)
    worse["gradient_error"] = [9 * e for e in worse["gradient_error"]]
    _, case = found(samples(), worse)
    effect = effect_of(case, "gradient error")
    assert effect.change == pytest.approx(9)
    assert effect_of(case, "success").answer == "fails more"


def test_errors_of_nothing_are_not_compared() -> None:
    every = lost(*range(SEEDS))
    _, case = found(every, every)
    assert [effect.quantity for effect in case.effects] == ["success"]
    assert case.verdict == "equal"


def test_fewer_seeds_are_the_first_of_more() -> None:
    few = stability_case(seeds=4)
    cut = {name: values[:4] for name, values in lost(3).items()}
    result = compared([record(stability_case(), samples())], [record(few, cut)])
    case = result.cases[0]
    assert case.differs == {"seeds": ("8", "4")}
    assert effect_of(case, "success").b == 3 / 4


@pytest.mark.parametrize("metric", ["gradient_finite", "gradient_error"])
@pytest.mark.parametrize("values", [[], [1.0] * 3])
def test_a_record_that_lacks_values_is_not_tested(metric: str, values: list[float]) -> None:
    _, case = found(samples(), samples(**{metric: values}))
    assert case.verdict == "not tested"
    assert not case.regression


@pytest.mark.parametrize(
    ("a", "b", "answer", "verdict"),
    [
        ("measured", "failed", "fails more", "worse"),
        ("failed", "measured", "fails less", "better"),
        ("measured", "skipped", "changed", "changed"),
        ("skipped", "measured", "changed", "changed"),
        ("failed", "skipped", "fails less", "better"),
        ("skipped", "failed", "fails more", "worse"),
        ("failed", "failed", "equal", "equal"),
        ("skipped", "skipped", "equal", "equal"),
    ],
)
def test_every_change_of_a_status(a: str, b: str, answer: str, verdict: str) -> None:
    def one(status: str) -> Record:
        reason = None if status == "measured" else f"why it {status}"
        made: dict[str, Any] = samples() if status == "measured" else {}
        return record(stability_case(), made, status=status, reason=reason)

    result = compared([one(a)], [one(b)])
    case = result.cases[0]
    effect = effect_of(case, "failures")
    assert (effect.answer, case.verdict) == (answer, verdict)
    assert case.regression is (verdict == "worse")
    assert (case.a.ended, case.b.ended) == ({a: 1}, {b: 1})
    if a != b:
        assert f"{a} → {b}" in effect.note
        assert all(f"why it {s}" in effect.note for s in (a, b) if s != "measured")


def test_rounding_of_two_machines_raises_no_alarm() -> None:
    """Errors that differ by a random factor, and the odd seed that fails here or there."""
    draw = np.random.default_rng(0)
    alarms = 0
    for _ in range(40):
        planned = [stability_case(d=d) for d in range(2, 42)]
        a, b = ([record(case, _measured(draw)) for case in planned] for _ in range(2))
        alarms += bool(compared(a, b).regressions)
    assert alarms <= 4  # 5 %, and two standard deviations


def _measured(draw: np.random.Generator) -> dict[str, list[float]]:
    fails = draw.random(SEEDS) < 0.1
    flags = [0.0 if failed else 1.0 for failed in fails]
    errors = np.where(fails, np.nan, np.exp(draw.normal(-14, 1, SEEDS)))
    residuals = 1e-7 * draw.random(SEEDS)
    return samples(gradient_finite=flags, gradient_error=list(errors),
                   forward_residual=list(residuals))  # fmt: skip


PATH = PathCase(
    method="eigh", parameters={}, d=8, dtype="float32", epsilon=1e-4, loss="whitening", seed=0,
    device="cpu",
)  # fmt: skip
INVARIANCE = InvarianceCase(
    **{
        name: value
        for name, value in msgspec.structs.asdict(stability_case()).items()
        if name in InvarianceCase.__struct_fields__
    }
)
NAN = float("nan")


def _path(*errors: float) -> Record:
    return record(PATH, {"gradient_error": list(errors)})


def _invariance(**changes: list[float]) -> Record:
    return record(INVARIANCE, {"neighbour_change": [0.0, 0.0], **changes})


def _effects(a: Record, b: Record, *, alike: bool) -> list[Effect]:
    """Of two runs that round alike, or do not."""
    dtypes = frozenset({"float32"} if alike else ())
    return probes([a], [b], Context(same_machine=True, same_torch=alike, repeating=dtypes))


def _answers(a: Record, b: Record, *, alike: bool = True) -> dict[str, str]:
    return {one.quantity: one.answer for one in _effects(a, b, alike=alike)}


def test_the_same_is_equal_where_runs_round_alike_or_not() -> None:
    for one in (_path(1e-6, NAN, 0.2), _invariance(precision_change=[1e-5, NAN])):
        for alike in (True, False):
            assert set(_answers(one, one, alike=alike).values()) == {"equal"}


NO, LESS, UNTESTED = "no difference shown", "less accurate", "not tested"


@pytest.mark.parametrize(
    ("before", "after", "alike", "answers"),
    [
        # Success, the median error, and the largest.
        ([1e-6, 1e-6, 0.2], [1e-3, 1e-3, 0.2], True, ["equal", LESS, NO]),
        ([1e-6, 1e-6, 0.2], [1e-6, 1e-6, 0.01], True, ["equal", NO, "more accurate"]),
        ([1e-6, 1e-6, 1e-6], [1e-6, NAN, 1e-6], True, ["fails more", "equal", "equal"]),
        ([NAN], [NAN], True, ["equal"]),
        # Less than a factor of two is no change, and none is made of rounding elsewhere.
        ([1e-6], [1.9e-6], True, ["equal", NO, NO]),
        ([1e-6], [1e-3], False, ["equal", UNTESTED, UNTESTED]),
        # A record that lacks values.
        ([1e-6, 1e-6], [1e-6], True, [UNTESTED]),
        ([1e-6], [], True, [UNTESTED]),
    ],
)
def test_a_path_is_judged_by_its_median_and_by_its_worst(
    before: list[float], after: list[float], alike: bool, answers: list[str]
) -> None:
    found = _answers(_path(*before), _path(*after), alike=alike)
    names = ("success", "gradient error", "largest gradient error")
    assert found == dict(zip(names, answers, strict=False))


def test_neighbours_that_change_a_gradient_are_an_error_and_threads_a_change() -> None:
    a = _invariance(thread_change=[0.0, 0.0])
    b = _invariance(neighbour_change=[0.0, 0.1], thread_change=[0.0, 0.1])
    found = _answers(a, b)
    assert (found["neighbour change"], found["thread change"]) == (LESS, "more")


@pytest.mark.parametrize(("torch", "verdict"), [("2.14.1", "worse"), ("2.15.0", "not tested")])
def test_stability_cases_tell_whether_the_runs_round_alike(torch: str, verdict: str) -> None:
    own = {name: [1.0] * 8 for name in ("forward_finite", "gradient_finite")}
    errors = {name: [1e-6] * 8 for name in ("gradient_error", "forward_residual")}
    beside = record(stability_case(), {**own, **errors})
    places = here(), here(packages={"torch": torch})
    found = compared([beside, _path(1e-6)], [beside, _path(1e-3)], where=places)
    assert _verdict(found) == verdict


def _verdict(found: Comparison) -> str:
    return next(case.verdict for case in found.cases if isinstance(case.case, PathCase))


SERIES = SeriesCase(ratio=0.85, threshold=0.05, dtype="float64")
SUMS = {"least_terms": [19.0], "powers": [0.85, 0.7, math.nan], "sum_rounding_error": [1e-16, 0.0]}


def series(**changes: list[float]) -> CaseComparison:
    a, b = record(SERIES, SUMS), record(SERIES, {**SUMS, **changes})
    return compared([a], [b]).cases[0]


def test_equal_numbers_are_equal_and_so_is_nan() -> None:
    case = series()
    assert case.verdict == "equal"
    assert case.name == "series"


@pytest.mark.parametrize(
    ("changes", "count", "note"),
    [
        ({"least_terms": [20.0]}, 1, "least_terms (1)"),
        ({"powers": [0.85, 0.7]}, 1, "powers (1)"),
        ({"powers": [0.8, 0.7, math.inf]}, 2, "powers (2)"),
        ({"another": [1.0, 2.0]}, 2, "another (2)"),
    ],
)
def test_any_other_number_is_a_change(
    changes: dict[str, list[float]], count: int, note: str
) -> None:
    case = series(**changes)
    effect = effect_of(case, "values that differ")
    assert (effect.b, effect.note, case.verdict) == (count, note, "changed")
    assert not case.regression


@pytest.mark.parametrize("a", [1e308, 1.7e308, 5e-324, 1.0])
@pytest.mark.parametrize("b", [1e308, 5e-324, 1.0])
def test_errors_at_the_ends_of_the_floats_are_compared_as_they_are(a: float, b: float) -> None:
    case = stability_case()
    count = len(samples()["gradient_error"])
    one, other = (record(case, {**samples(), "gradient_error": [x] * count}) for x in (a, b))
    result = compared([one], [other])
    effect = effect_of(result.cases[0], "gradient error")
    assert (effect.a, effect.b) == (a, b)
