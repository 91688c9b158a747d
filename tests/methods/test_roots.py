"""Roots by matrix products alone that are right, against what eigenpairs give in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.losses import exact_gradient
from eigbench.methods.functions import InverseRoot, InverseSquareRoot, SquareRoot
from eigbench.methods.minimax import NEAR, best_cubic, best_quintic, schedule
from eigbench.methods.newton_schulz import largest_eigenvalue
from eigbench.methods.roots import NEWTON_SCHULZ, Step
from eigbench.spectra import Sample
from tests.methods.matrices import relative, symmetric, weights

FUNCTIONS = {"inverse-square-root": InverseSquareRoot(), "square-root": SquareRoot()}


def spectra(n: int, condition: float) -> Tensor:
    """`(5, n)`: along a logarithm, one small, one large, half and half, along a line."""
    ends = torch.linspace(0, 1, n, dtype=torch.float64)
    low, high = torch.full((n,), 1 / condition).double(), torch.ones(n).double()
    first, last = torch.arange(n) == 0, torch.arange(n) == n - 1
    return torch.stack([condition ** (ends - 1), torch.where(first, low, (1 + ends) / 2),
                        torch.where(last, high, low * (1 + ends)),
                        torch.where(torch.arange(n) < n // 2, low, high),
                        torch.lerp(low, high, ends)])  # fmt: skip


def errors(M: Tensor, function: Any, method: str, **parameters: Any) -> tuple[float, float]:
    """The worst relative error of a batch, of the value and of the gradient.

    The truth is that of M as it is, rounded: NumPy's eigenpairs, and divided differences.
    """
    W = weights(M)
    X = M.clone().requires_grad_()
    found = eigbench.matrix_function(X, function, method=method, **parameters)
    (G,) = torch.autograd.grad((W * found).sum(), X)
    known = Sample(*np.linalg.eigh(M.double().numpy()))
    exact = FUNCTIONS.get(function, function)
    V = known.eigenvectors
    value = (V * exact.values(known.eigenvalues)[:, None, :]) @ V.swapaxes(-1, -2)
    gradient = exact_gradient(known, exact, W.double().numpy())
    pairs = ((found, value), (G, gradient))
    first, second = (
        max(relative(a.detach().double(), torch.from_numpy(b)) for a, b in zip(x, y, strict=True))
        for x, y in pairs
    )
    return first, second


@pytest.mark.parametrize(("condition", "n"), [(10, 4), (1e3, 16), (1e6, 4), (1e6, 16), (1e6, 64)])
@pytest.mark.parametrize("lyapunov", [True, False])
@pytest.mark.parametrize("method", ["cans", "polar-express"])
def test_right_to_one_percent_up_to_condition_1e6(
    method: str, lyapunov: bool, condition: float, n: int
) -> None:
    # Of M in float32 the condition is what rounding makes of it.
    for dtype, function in itertools.product((torch.float32, torch.float64), FUNCTIONS):
        M = symmetric(spectra(n, condition)).to(dtype)
        assert max(errors(M, function, method, lyapunov=lyapunov)) < 1e-4


@pytest.mark.parametrize("condition", [10, 1e5])
@pytest.mark.parametrize("method", ["cans", "polar-express"])
def test_in_float32_alone_to_one_percent_up_to_1e5(method: str, condition: float) -> None:
    for n, function in itertools.product((4, 16), FUNCTIONS):
        M = symmetric(spectra(n, condition)).float()
        assert max(errors(M, function, method, precision="input")) < 1e-2


def test_a_condition_beyond_the_one_declared_is_not_reached() -> None:
    M = symmetric(spectra(8, 1e6))
    assert errors(M, "inverse-square-root", "cans", condition=1e3)[0] > 1e-2
    assert errors(M, "inverse-square-root", "cans", condition=1e8)[0] < 1e-5


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7])
def test_inverse_roots_of_any_order(order: int) -> None:
    for condition in (10, 1e6):
        M = symmetric(spectra(6, condition))
        for method in ("coupled-newton", "spectral"):
            assert max(errors(M, InverseRoot(order), method)) < 1e-8, (method, condition)


def test_newton_db_needs_fewer_steps_than_by_the_trace() -> None:
    M = symmetric(torch.linspace(0.1, 1, 64, dtype=torch.float64)[None])
    by_trace, by_largest = (
        errors(M, "inverse-square-root", method, steps=6)[0]
        for method in ("newton-schulz", "newton-db")
    )
    assert by_largest < 1e-3 < by_trace


def test_the_largest_eigenvalue_is_bounded_from_above() -> None:
    A = symmetric(torch.cat([spectra(16, 1e3), torch.ones(1, 16, dtype=torch.float64)]))
    ratio = largest_eigenvalue(A).flatten() / torch.linalg.eigvalsh(A)[:, -1]
    assert (ratio > 1 - 1e-12).all()
    assert (ratio < 16 ** (1 / 16) + 1e-12).all()


def polynomial(step: Step, x: Any) -> Any:
    a, b, c = step
    return x * (a + x**2 * (b + x**2 * c))


@pytest.mark.parametrize(("best", "extremes"), [(best_cubic, 3), (best_quintic, 4)])
@pytest.mark.parametrize("interval", [(1e-4, 1.0), (0.1, 1.0), (0.3, 1.7), (0.9, 1.1)])
def test_the_error_of_a_best_polynomial_alternates(
    best: Any, extremes: int, interval: tuple[float, float]
) -> None:
    """One more extreme error than coefficients, all of one size: Chebyshev's criterion."""
    step, error = best(*interval)
    x = np.geomspace(*interval, 200_001)
    off = 1 - polynomial(step, x)
    assert abs(np.abs(off).max() / error - 1) < 1e-6
    signs = np.sign(off[np.abs(off) > error * (1 - 1e-6)])
    assert 1 + np.count_nonzero(np.diff(signs)) == extremes


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("condition", [1.0, 10, 1e6, 1e14])
def test_a_schedule_takes_its_interval_to_one(degree: int, condition: float) -> None:
    lower = 1 / (3 * math.sqrt(condition))
    x = np.geomspace(lower, 1, 20_001)
    for step in schedule(degree, lower):
        x = polynomial(step, x)
    assert np.abs(x - 1).max() <= NEAR * (1 + 1e-9)
    for _ in range(2):
        x = polynomial(NEWTON_SCHULZ, x)
    assert np.abs(x - 1).max() < 1e-6


def test_senseless_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="order must be a whole number, 1 or more, not 0"):
        InverseRoot(0)
    with pytest.raises(ValueError, match="and no other function"):
        eigbench.matrix_function(torch.eye(2), "square-root", method="coupled-newton")
