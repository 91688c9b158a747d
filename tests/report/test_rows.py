"""Summaries: what counts as success, as right, as infinite; and what is compared with what."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from eigbench.kinds.stability import StabilityCase
from eigbench.report.rows import Row, comparable, median, median_error, right_rate, success_rate
from eigbench.report.tables import balanced
from eigbench.report.verdict import verdict
from eigbench.runs.record import SCHEMA, Record, number


def row(
    status: str = "measured", samples: dict[str, list[float]] | None = None, **axes: Any
) -> Row:
    values: dict[str, Any] = {
        "method": "eigh", "parameters": {}, "d": 4, "spectrum": "gap", "gap": 0.1, "scale": 1.0,
        "dtype": "float64", "epsilon": 1e-4, "loss": "whitening", "seeds": 2, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    case = StabilityCase(**{**values, **axes})
    fine = {
        "forward_finite": [1.0, 1.0],
        "gradient_finite": [1.0, 1.0],
        "inside_bound": [1.0, 1.0],
        "gradient_error": [1e-6, 1e-6],
        "closing_pair_ratio": [1.0, 1.0],
    }
    written = {k: [number(x) for x in v] for k, v in {**fine, **(samples or {})}.items()}
    record = Record(
        schema=SCHEMA,
        id=case.id,
        case=case,
        status=status,  # type: ignore[arg-type]
        samples=written if status == "measured" else {},
    )
    return Row(record, case)


@pytest.mark.parametrize("flag", ["forward_finite", "gradient_finite", "inside_bound"])
def test_success_needs_every_flag(flag: str) -> None:
    assert success_rate([row()]) == 1
    assert success_rate([row(samples={flag: [1.0, 0.0]})]) == 0.5


def test_a_failed_case_fails_for_every_seed_and_is_infinitely_wrong() -> None:
    rows = [row(), row("failed", d=8)]
    assert success_rate(rows) == 0.5
    assert right_rate(rows) == 0.5
    assert median_error([row("failed")]) == math.inf


def test_nan_counts_as_wrong_and_as_infinite() -> None:
    nan = row(samples={"gradient_error": [math.nan, 1e-6]})
    assert right_rate([nan]) == 0.5
    assert median_error([nan]) == math.inf


def test_right_is_one_per_cent() -> None:
    assert right_rate([row(samples={"gradient_error": [0.0100, 0.0101]})]) == 0.5


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        ([1.0, 3.0], 2.0),
        ([1.0, 2.0, math.nan], 2.0),
        ([math.inf, math.inf], math.inf),
        ([1.0, math.nan], math.inf),
    ],
)
def test_median(values: list[float], middle: float) -> None:
    assert median(np.array(values)) == middle


def test_median_of_nothing_is_nan() -> None:
    assert math.isnan(median(np.array([])))


def test_methods_are_compared_on_shared_points_only() -> None:
    points = [0.5, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7]
    full = [row(gap=gap) for gap in points]
    almost = [row(method="svd", gap=gap) for gap in points[1:]]
    reference = [row(method="hybrid-loop", gap=0.1)]
    chosen = comparable([*full, *almost, *reference], 19)
    assert {(r.case.method, r.case.gap) for r in chosen} == {
        (method, gap) for method in ("eigh", "svd") for gap in points[1:]
    }


def test_other_k_and_other_starts_are_not_compared() -> None:
    usual = row(method="pi", parameters={"iterations": 19, "seed": 0})
    others = [
        row(method="pi", parameters={"iterations": 100, "seed": 0}),
        row(method="pi", parameters={"iterations": 19, "seed": 1}),
    ]
    assert comparable([usual, *others], 19) == [usual]


def test_a_table_along_an_axis_leaves_out_what_was_measured_at_few_of_its_values() -> None:
    gaps = [0.1, 0.01, 1e-3, 0.0]
    everywhere = [row(gap=gap) for gap in gaps]
    once = row(gap=0.1, scale=100.0)
    assert balanced([*everywhere, once], "gap") == everywhere


def test_verdict_tells_bounded_from_right() -> None:
    rows = [
        row(samples={"inside_bound": [0.0, 0.0]}, seeds=2, gap=gap) for gap in (0.1, 0.01, 1e-3)
    ] + [
        row(
            method="hybrid",
            parameters={"iterations": 19},
            samples={"gradient_error": [0.3, 0.3], "closing_pair_ratio": [-1.5, -1.5]},
            gap=gap,
        )
        for gap in (0.1, 0.01, 1e-3)
    ]
    text = " ".join(verdict(rows, 19))
    assert "Most often finite and bounded: **hybrid** (100 %)." in text
    assert "Most often right: **eigh** (100 %)." in text
    assert "They are not the same" in text
    assert "**hybrid** points the wrong way on the closing pair from a gap of 0.1 on" in text
    assert "eigh down to 0.001, all measured; hybrid not even at 0.1" in text


def test_verdict_shows_no_difference_where_there_is_none() -> None:
    rows = [row(gap=gap) for gap in (0.1, 0.01)]
    rows += [row(method="svd", gap=gap) for gap in (0.1, 0.01)]
    assert "**eigh** (100 %), **svd** (100 %); no difference shown" in " ".join(verdict(rows, 19))
