"""Sums of the series: equal or not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from eigbench.kinds.series import SeriesCase
from eigbench.report.compare.result import CaseComparison
from tests.report.compare.making import compared, effect_of, record

CASE = SeriesCase(ratio=0.85, threshold=0.05, dtype="float64")
SUMS = {"least_terms": [19.0], "powers": [0.85, 0.7, math.nan], "sum_rounding_error": [1e-16, 0.0]}


def found(tmp_path: Path, **changes: list[float]) -> CaseComparison:
    a, b = record(CASE, SUMS), record(CASE, {**SUMS, **changes})
    return compared(tmp_path, [a], [b]).cases[0]


def test_equal_numbers_are_equal_and_so_is_nan(tmp_path: Path) -> None:
    case = found(tmp_path)
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
    tmp_path: Path, changes: dict[str, list[float]], count: int, note: str
) -> None:
    case = found(tmp_path, **changes)
    effect = effect_of(case, "values that differ")
    assert (effect.b, effect.note, case.verdict) == (count, note, "changed")
    assert not case.regression


@pytest.mark.parametrize(("error", "worse"), [(3e-16, True), (1.5e-16, False)])
def test_a_sum_that_loses_more_to_rounding_is_less_accurate(
    tmp_path: Path, error: float, worse: bool
) -> None:
    case = found(tmp_path, sum_rounding_error=[error, 0.0])
    assert case.regression is worse
    assert case.verdict == ("worse" if worse else "changed")
