"""Daleckii–Krein: exact at any gap. Where there is no derivative: `test_no_gradient.py`."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

import eigbench
from tests.methods.matrices import relative, separated, symmetric, weights

GAPS = [0.3, 1e-3, 1e-6, 1e-9, 1e-12, 0.0]


def whitening_gradient(M: Tensor, W: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    loss = (W * eigbench.matrix_function(X, "inverse-square-root")).sum()
    return torch.autograd.grad(loss, X)[0]


def literal(values: list[Any], W: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """M and the gradient of ⟨W, M^(−1/2)⟩, both in 60 digits and then rounded to float64.

    The basis is orthonormal to 60 digits too. The divided difference is taken as it is written:
    at a gap of 1e-12 it loses 12 of the 60 digits.
    """
    n = len(values)
    with mpmath.workdps(60):
        drawn = torch.randn(n, n, generator=torch.Generator().manual_seed(seed)).tolist()
        V, _ = mpmath.qr(mpmath.matrix(drawn))
        M = V * mpmath.diag(values) * V.T
        core = V.T * mpmath.matrix(W.tolist()) * V
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                tie = -(mpmath.mpf(a) ** -1.5) / 2
                rise = 1 / mpmath.sqrt(a) - 1 / mpmath.sqrt(b)
                core[i, j] *= tie if a == b else rise / (a - b)
        G = V * core * V.T
        rounded = [[[float(X[i, j]) for j in range(n)] for i in range(n)] for X in (M, G)]
    return torch.tensor(rounded[0], dtype=torch.float64), torch.tensor(
        rounded[1], dtype=torch.float64
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("gap", GAPS)
def test_exact_at_any_gap(gap: float, seed: int) -> None:
    W = weights(torch.empty(5, 5, dtype=torch.float64), seed)
    with mpmath.workdps(60):
        values = [mpmath.mpf(x) for x in ("0.2", "0.5", "0.9", "1.4")]
        values.append(values[2] * (1 + mpmath.mpf(gap)))
    M, truth = literal(values, W, seed)
    # M itself is rounded: 2^-53, times a condition number of 7 and some.
    assert relative(whitening_gradient(M, W), truth) < 1e-14
    # The same matrix rounded to float32 is 6e-8 off.
    single = whitening_gradient(M.float(), W.float())
    assert relative(single, truth) < 1e-14 * 2**29


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1e-4, 0.37, 1.0, 1e6])
@pytest.mark.parametrize("n", [1, 4, 64])
def test_all_eigenvalues_equal(n: int, value: float, dtype: torch.dtype) -> None:
    M = value * torch.eye(n, dtype=dtype)
    W = weights(M)
    truth = -0.5 * float(M[0, 0]) ** -1.5 * W.double()
    assert relative(whitening_gradient(M, W), truth) < 8 * torch.finfo(dtype).eps


def test_all_equal_in_a_basis_that_is_not_the_axes() -> None:
    """A covariance of whitened data: ties but for rounding, which picks the eigenvectors."""
    M = symmetric(torch.full((8,), 0.7, dtype=torch.float64))
    truth = -0.5 * 0.7**-1.5 * weights(M)
    assert relative(whitening_gradient(M, weights(M)), truth) < 1e-14


def test_only_the_symmetric_part_of_the_cotangent_counts() -> None:
    M = separated(5)
    W = torch.arange(25.0, dtype=torch.float64).reshape(5, 5)
    found = whitening_gradient(M, W)
    assert relative(found, whitening_gradient(M, (W + W.T) / 2)) < 1e-14
