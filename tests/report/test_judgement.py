"""Who is recommended: the worst situation decides, and no class of matrices may fail as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from eigbench.report import situations
from eigbench.report.frame import comparable
from eigbench.report.judgement import Advice, advise, judged, whitens_otherwise
from eigbench.runs.record import Record
from tests.report.making import frames_of, lost, stability

OFF = {"gradient_error": [0.5, 0.5]}
OPEN, TIES = 0.1, 0.0


def everywhere(method: str, made: Any = stability, **axes: Any) -> list[Record]:
    """A method on open gaps and on ties, in ten sizes each."""
    return [made(method=method, d=d, gap=gap, **axes) for gap in (OPEN, TIES) for d in range(4, 14)]


def advice(records: list[Record], slower: dict[tuple[str, str], bool] | None = None) -> Advice:
    frame, _ = comparable(frames_of(records).usual)
    (found,) = advise(judged(frame), set(), slower or {})
    return found


def names(standings: Any) -> list[str]:
    return [one.contestant for one in standings]


def test_shares_belong_to_one_situation() -> None:
    records = [stability(gap=0.1), lost(gap=0.0, d=8), stability(gap=0.0)]
    rows = {row["situation"]: row for row in judged(frames_of(records).usual).to_dicts()}
    assert rows[situations.OPEN_GAPS]["right"] == 1
    assert rows[situations.OPEN_GAPS]["n"] == 2
    assert rows[situations.TIED_PAIR]["finite"] == 0.5
    assert rows[situations.TIED_PAIR]["failing"] == 1
    assert rows[situations.TIED_PAIR]["cosine"] == 1  # of the finite gradients


def test_the_size_is_said_where_it_decides() -> None:
    small, large = stability(d=4), lost(d=64)
    (row,) = judged(frames_of([small, large]).usual).to_dicts()
    assert row["lost_d"] == 64
    (row,) = judged(frames_of([lost(d=4), large]).usual).to_dicts()
    assert row["lost_d"] is None
    (row,) = judged(frames_of([large]).usual).to_dicts()
    assert row["lost_d"] is None  # there is no other size


def test_the_exact_gradient_outside_the_bound_is_recommended() -> None:
    outside = {"inside_bound": [0.0, 0.0]}
    found = advice([*everywhere("spectral", samples=outside), *everywhere("svd", lost)])
    assert names(found.recommended) == ["spectral"]
    assert names(found.avoid) == ["svd"]


def test_one_class_that_fails_as_a_whole_is_enough_not_to_be_recommended() -> None:
    """A mean over a designed grid would not see it: 38 of 40 gradients are right."""
    mostly = everywhere("lorentzian")
    mostly[3] = stability(method="lorentzian", d=7, gap=OPEN, samples=OFF)
    found = advice([*everywhere("spectral"), *mostly])
    assert names(found.recommended) == ["spectral"]
    assert names(found.others) == ["lorentzian"]
    assert found.others[0].failing == 1


def test_the_worst_situation_decides_and_not_the_mean() -> None:
    tied = [stability(method="eigh", d=d, gap=TIES, samples={"gradient_error": [1e-6, 0.5]})
            for d in range(4, 14)]  # fmt: skip
    records = [stability(method="eigh", d=d, gap=OPEN) for d in range(4, 14)] + tied
    found = advice([*everywhere("spectral"), *records])
    assert names(found.recommended) == ["spectral"]
    assert names(found.others) == ["eigh"]


def test_what_points_away_is_to_be_avoided() -> None:
    away = {"gradient_error": [2.0, 2.0], "gradient_cosine": [-0.3, -0.3]}
    found = advice([*everywhere("spectral"), *everywhere("hybrid", samples=away)])
    assert names(found.avoid) == ["hybrid"]


@pytest.mark.parametrize("shown", [True, False])
def test_of_equals_the_one_not_shown_to_be_slower(shown: bool) -> None:
    found = advice([*everywhere("spectral"), *everywhere("trunc")], {("spectral", "trunc"): shown})
    assert names(found.recommended) == (["trunc"] if shown else ["spectral", "trunc"])
    assert names(found.slower) == (["spectral"] if shown else [])


def test_of_few_matrices_nothing_is_recommended() -> None:
    records = [stability(method=m, d=d) for m in ("spectral", "svd") for d in range(4, 13)]
    assert not advice(records).enough
    assert advice([*everywhere("spectral"), *everywhere("svd")]).enough


def test_a_recommended_method_is_always_finite() -> None:
    """All but one of its gradients are within 10 %, and that one is not finite."""
    mostly = everywhere("svd")
    nan = {"gradient_error": [1e-6, float("nan")], "gradient_finite": [1.0, 0.0]}
    mostly[0] = stability(method="svd", d=4, gap=OPEN, samples=nan)
    found = advice([*everywhere("spectral"), *mostly])
    assert names(found.recommended) == ["spectral"]
    assert names(found.others) == ["svd"]


def test_one_that_is_right_more_often_is_named_though_it_is_not_dependable() -> None:
    coarse = everywhere("spectral", samples={"gradient_error": [0.05, 0.05]})
    found = advice([*coarse, *everywhere("svd")[:10], *everywhere("svd", lost)[10:]])
    assert names(found.recommended) == ["spectral"]
    assert found.more_right == [("svd", situations.OPEN_GAPS)]


def test_equals_are_the_best_together() -> None:
    found = advice([*everywhere("svd", lost), *everywhere("eigh", lost)])
    assert not found.recommended
    assert names(found.best) == ["svd", "eigh"]


def test_less_often_right_needs_a_difference_beyond_chance() -> None:
    """18 of 20 against 20 of 20 is none; 0 of 20 within 1 %, all within 10 %, is one."""
    nearly = everywhere("trunc")
    nearly[0] = stability(method="trunc", d=4, gap=OPEN, samples={"gradient_error": [0.05, 0.05]})
    coarse = everywhere("taylor", samples={"gradient_error": [0.05, 0.05]})
    found = advice([*everywhere("spectral"), *nearly, *coarse])
    assert set(names(found.recommended)) == {"spectral", "trunc"}
    assert names(found.less_right) == ["taylor"]


def test_another_whitening_matrix_has_a_use_of_its_own() -> None:
    labels = {"whitens_by": ["inverse Cholesky factor"]}
    records = [*everywhere("spectral"), *everywhere("eigh"), *everywhere("cholesky", labels=labels)]
    frame, _ = comparable(frames_of(records).usual)
    by_root, by_any = advise(judged(frame), whitens_otherwise(frame), {})
    assert "cholesky" not in names(by_root.recommended)
    assert "cholesky" in names(by_any.recommended)
