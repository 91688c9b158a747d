"""Spectral functions: their divided differences, and what a truncation makes of them."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    Truncated,
)

VALUES = np.array([-0.3, 0.0, 0.5, 0.9, 1.7])
KEPT = np.array([0.0, 0.0, 0.0, 1.0, 1.0])


def inverse_root(value: float) -> float:
    return 1 / math.sqrt(value)


def truncated(like: Any = VALUES) -> Truncated:
    kept = torch.tensor(KEPT) if isinstance(like, torch.Tensor) else KEPT
    return Truncated(InverseSquareRoot(), kept)


@pytest.mark.parametrize("values", [VALUES, torch.tensor(VALUES)], ids=["numpy", "torch"])
def test_truncated_is_f_where_kept_and_zero_elsewhere(values: Any) -> None:
    found = truncated(values).values(values)
    assert type(found) is type(values)
    assert found.tolist() == [0, 0, 0, pytest.approx(0.9**-0.5), pytest.approx(1.7**-0.5)]


@pytest.mark.parametrize("values", [VALUES, torch.tensor(VALUES)], ids=["numpy", "torch"])
def test_truncated_divided_differences_are_the_quotients(values: Any) -> None:
    found = truncated(values).divided_differences(values)
    f = [0.0, 0.0, 0.0, inverse_root(0.9), inverse_root(1.7)]
    for i, a in enumerate(VALUES):
        for j, b in enumerate(VALUES):
            tie = -0.5 * a**-1.5 if i > 2 else 0.0
            truth = tie if i == j else (f[i] - f[j]) / (a - b)
            assert float(found[i, j]) == pytest.approx(truth, rel=1e-14, abs=0), (i, j)


def test_ties_away_from_the_cut_do_no_harm() -> None:
    values = np.array([0.0, 0.0, 0.0, 1.5, 1.5])
    found = truncated().divided_differences(values)
    assert np.isfinite(found).all()
    assert (found[:3, :3] == 0).all()
    assert found[3:, 3:] == pytest.approx(np.full((2, 2), -0.5 * 1.5**-1.5), rel=1e-14)


def test_a_tie_across_the_cut_has_no_derivative() -> None:
    found = truncated(torch.tensor(VALUES)).divided_differences(torch.full((5,), 0.9))
    assert torch.isinf(found[3, 2])
    assert torch.isfinite(found[4, 3])


def test_autograd_through_what_is_dropped_gives_no_nan() -> None:
    """0 times an infinite f′ would be NaN."""
    values = torch.tensor(VALUES, requires_grad=True)
    (found,) = torch.autograd.grad(truncated(values).values(values).sum(), values)
    assert found.tolist() == [0, 0, 0, *(pytest.approx(-0.5 * v**-1.5) for v in (0.9, 1.7))]


def test_each_matrix_has_its_own_cut() -> None:
    kept = np.array([[0.0, 1.0], [1.0, 1.0]])
    found = Truncated(Identity(), kept).values(np.array([[2.0, 3.0], [4.0, 5.0]]))
    assert found.tolist() == [[0, 3], [4, 5]]


@pytest.mark.parametrize(
    "function",
    [InverseSquareRoot(), Identity(), Projector(KEPT), Truncated(Projector(KEPT), KEPT)],
    ids=lambda function: type(function).__name__,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constants_become_like_the_matrix(function: SpectralFunction, dtype: torch.dtype) -> None:
    M = torch.eye(5, dtype=dtype)
    values = M.sum(-1) * torch.tensor([0.5, 0.7, 1.1, 1.3, 1.7], dtype=dtype)
    like = function.like(M)
    assert type(like) is type(function)
    assert like.values(values).dtype == dtype
    assert like.divided_differences(values).dtype == dtype
    again = pickle.loads(pickle.dumps(like))  # noqa: S301
    assert torch.equal(again.values(values), like.values(values))
