"""Paths and invariances: equal, worse where the runs round alike, not tested where they do not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.report.compare import compare
from eigbench.report.compare.probes import drafts
from eigbench.report.compare.result import Comparison
from eigbench.runs.record import Record
from tests.report.compare.making import compared, here, record, stability_case

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


def _answers(a: Record, b: Record, *, repeats: bool = True) -> dict[str, str | None]:
    return {draft.quantity.name: draft.given for draft in drafts(a, b, repeats=repeats)}


def test_the_same_is_equal_where_runs_round_alike_or_not() -> None:
    for one in (_path(1e-6, NAN, 0.2), _invariance(precision_change=[1e-5, NAN])):
        for repeats in (True, False):
            assert set(_answers(one, one, repeats=repeats).values()) == {"equal"}


def test_a_path_is_judged_by_its_median_and_by_its_worst() -> None:
    before = _path(1e-6, 1e-6, 0.2)
    assert _answers(before, _path(1e-3, 1e-3, 0.2)) == {
        "success": "equal",
        "gradient error": "less accurate",
        "largest gradient error": "no difference shown",
    }
    assert _answers(before, _path(1e-6, 1e-6, 0.01)) == {
        "success": "equal",
        "gradient error": "no difference shown",
        "largest gradient error": "more accurate",
    }


def test_a_gradient_that_is_lost_is_a_failure() -> None:
    found = _answers(_path(1e-6, 1e-6, 1e-6), _path(1e-6, NAN, 1e-6))
    assert found["success"] == "fails more"
    assert _answers(_path(NAN), _path(NAN)) == {"success": "equal"}


def test_neighbours_that_change_a_gradient_are_an_error_and_threads_a_change() -> None:
    a = _invariance(thread_change=[0.0, 0.0])
    b = _invariance(neighbour_change=[0.0, 0.1], thread_change=[0.0, 0.1])
    found = _answers(a, b)
    assert (found["neighbour change"], found["thread change"]) == ("less accurate", "more")


def test_less_than_a_factor_of_two_is_no_change() -> None:
    assert _answers(_path(1e-6), _path(1.9e-6))["gradient error"] == "no difference shown"


def test_nothing_is_made_of_rounding_on_another_machine() -> None:
    found = _answers(_path(1e-6), _path(1e-3), repeats=False)
    assert found == {"success": "equal", "gradient error": None, "largest gradient error": None}


def test_a_record_that_lacks_values_is_not_tested() -> None:
    assert _answers(_path(1e-6, 1e-6), _path(1e-6)) == {"success": None}
    assert _answers(_path(1e-6), _path()) == {"success": None}


@pytest.mark.parametrize(("torch", "verdict"), [("2.14.1", "worse"), ("2.15.0", "not tested")])
def test_stability_cases_tell_whether_the_runs_round_alike(
    tmp_path: Path, torch: str, verdict: str
) -> None:
    own = {name: [1.0] * 8 for name in ("forward_finite", "gradient_finite", "inside_bound")}
    errors = {name: [1e-6] * 8 for name in ("gradient_error", "forward_residual")}
    beside = record(stability_case(), {**own, **errors})
    places = here(), here(packages={"torch": torch})
    found = compared(tmp_path, [beside, _path(1e-6)], [beside, _path(1e-3)], where=places)
    assert _verdict(found) == verdict


def _verdict(found: Comparison) -> str:
    return next(case.verdict for case in found.cases if isinstance(case.case, PathCase))


def test_the_sample_has_both() -> None:
    sample = Path(__file__).parents[3] / "reports" / "stability"
    kinds = {type(case.case) for case in compare(sample, sample).cases}
    assert kinds >= {PathCase, InvarianceCase}
