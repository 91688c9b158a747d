"""Frames: a row a matrix, nothing is forgotten; situations; who is compared with whom."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from eigbench.report import situations
from eigbench.report.frame import comparable, tidy, values_of
from eigbench.spectra import SPECTRA, draw
from tests.report.making import frames_of, lost, stability


def test_a_case_that_failed_keeps_a_row_a_matrix_and_is_infinitely_wrong() -> None:
    frame = frames_of([stability(), stability("failed", d=8)]).stability
    failed = frame.filter(pl.col("status") == "failed")
    assert len(frame) == 4
    assert failed["error"].to_list() == [math.inf, math.inf]
    assert not failed["finite"].any()
    assert not failed["right"].any()
    assert failed["condition_number"].null_count() == 2


def test_nan_is_wrong_and_right_is_one_per_cent() -> None:
    samples = {"gradient_error": [math.nan, 0.0100, 0.0101]}
    frame = frames_of([stability(samples=samples, seeds=3)]).stability
    assert frame["error"].to_list() == [math.inf, 0.01, 0.0101]
    assert frame["right"].to_list() == [False, True, False]


def test_a_finite_gradient_outside_the_bound_is_no_failure() -> None:
    """Eq. 12 bounds the series methods; the exact gradient may be outside."""
    outside = {"inside_bound": [0.0, 0.0], "gradient_norm": [100.0, 100.0]}
    frame = frames_of([stability(samples=outside)]).stability
    assert frame["finite"].all()
    assert frame["right"].all()


def test_a_single_value_stands_in_every_row_and_a_short_one_ends_in_nulls() -> None:
    record = stability(samples={"one": [5.0], "short": [1.0, 2.0], "self": [0.5]}, seeds=3)
    frame = tidy([record])
    assert frame["self"].to_list() == [0.5, 0.5, 0.5]  # any name, as of somebody's own metric
    assert frame["one"].to_list() == [5.0, 5.0, 5.0]
    assert frame["short"].to_list() == [1.0, 2.0, None]


def test_other_k_is_another_contestant_and_other_starts_are_left_out() -> None:
    records = [
        stability(method="pi", parameters={"iterations": 19, "seed": 0}),
        stability(method="pi", parameters={"iterations": 100, "seed": 0}),
        stability(method="pi", parameters={"iterations": 19, "seed": 1}),
    ]
    frames = frames_of(records)
    assert values_of(frames.stability, "contestant") == ["pi", "pi, K = 100"]
    assert values_of(frames.usual, "contestant") == ["pi"]
    assert len(frames.every_stability) == 6
    assert len(frames.usual) == 2


def test_contestants_are_compared_on_the_matrices_of_all() -> None:
    records = [stability(method=m, d=d) for m in ("eigh", "hybrid") for d in range(4, 14)]
    records += [stability(method="svd", d=d) for d in range(4, 13)]  # nine of ten
    records += [stability(method="hybrid-loop", d=4)]  # a reference
    kept, rest = comparable(frames_of(records).usual)
    assert rest == ["hybrid-loop"]
    assert set(kept["d"]) == set(range(4, 13))
    assert kept.group_by("contestant").len()["len"].unique().to_list() == [18]


@pytest.mark.parametrize(
    ("axes", "samples", "situation"),
    [
        ({"gap": 0.1}, {}, situations.OPEN_GAPS),
        ({"gap": 1e-3}, {"smallest_relative_gap": [9.8e-4] * 2}, situations.OPEN_GAPS),
        ({"gap": 1e-4}, {}, situations.CLOSING_GAPS),
        ({"gap": 0.0}, {}, situations.TIED_PAIR),
        ({"spectrum": "cluster", "gap": 0.0, "d": 5}, {}, situations.TIED_PAIR),
        ({"spectrum": "cluster", "gap": 0.0, "d": 6}, {}, situations.MANY_TIES),
        ({"spectrum": "identity", "gap": None}, {"smallest_relative_gap": [0.0] * 2},
         situations.MANY_TIES),
        ({"spectrum": "cifar-conv", "gap": None}, {"condition_number": [1e4] * 2},
         situations.REAL_WELL),
        ({"spectrum": "cifar-conv", "gap": None, "d": 64},
         {"condition_number": [1e5] * 2, "smallest_relative_gap": [0.0] * 2},
         situations.REAL_ILL),
        ({"scale": 1e5, "epsilon": 0.0}, {}, situations.SCALED),
        ({"spectrum": "file", "gap": None}, {"condition_number": [1e9] * 2}, situations.YOURS),
        ({"spectrum": "file", "gap": None, "scale": 1e5}, {}, situations.SCALED),
    ],
)  # fmt: skip
def test_situations(axes: dict[str, Any], samples: dict[str, Any], situation: str | None) -> None:
    frame = frames_of([stability(samples=samples, **axes)]).stability
    assert frame["situation"].to_list() == [situation] * 2


def test_a_run_at_another_epsilon_has_situations_too() -> None:
    frames = frames_of([stability(epsilon=1e-2), stability(epsilon=0.0, d=8)])
    assert frames.usual["situation"].to_list() == [situations.OPEN_GAPS] * 2 + [None] * 2
    assert situations.usual_epsilon(frames.usual) == 1e-2


def test_the_situation_of_a_failed_case_is_that_of_its_matrices() -> None:
    tied = {"smallest_relative_gap": [0.0, 0.0]}
    records = [stability(gap=0.0, samples=tied), stability("failed", gap=0.0, method="svd")]
    frame = frames_of(records).stability
    assert frame["situation"].to_list() == [situations.TIED_PAIR] * 4


@pytest.mark.parametrize("name", ["gap", "cluster", "geometric", "rank-deficient", "identity"])
@pytest.mark.parametrize("d", [2, 3, 4, 5, 6, 8, 9])
def test_one_tied_pair_is_never_counted_with_many_ties(name: str, d: int) -> None:
    """By the eigenvalues themselves: how many neighbours are equal."""
    values = draw(SPECTRA[name], d, 0.0, range(1)).eigenvalues[0]
    ties = int((np.diff(values) < situations.TIE).sum())
    gap = {"smallest_relative_gap": [0.0 if ties else 0.15] * 2}
    frame = frames_of([stability(spectrum=name, gap=0.0, d=d, samples=gap)]).stability
    names = [situations.OPEN_GAPS, situations.TIED_PAIR, situations.MANY_TIES]
    assert frame["situation"][0] == names[min(ties, 2)]


def test_matrices_of_every_size_have_a_situation() -> None:
    """Of 2×2 matrices beside larger ones nothing was said once."""
    frame = frames_of([stability(d=2), stability(d=8)]).stability
    assert frame["situation"].to_list() == [situations.OPEN_GAPS] * 4


def test_lost_gradients_are_not_finite() -> None:
    frame = frames_of([lost()]).stability
    assert not frame["finite"].any()
    assert frame["error"].to_list() == [math.inf, math.inf]
