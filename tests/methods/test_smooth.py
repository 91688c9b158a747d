"""Divided differences of log, exp and any smooth function, against mpmath."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigbench
from eigbench.methods.functions import InverseSquareRoot, SpectralFunction, SquareRoot
from eigbench.methods.smooth import Exponential, Logarithm, Smooth

FUNCTIONS: dict[str, tuple[SpectralFunction, Any]] = {
    "square root": (SquareRoot(), mpmath.sqrt),
    "inverse square root": (InverseSquareRoot(), lambda x: 1 / mpmath.sqrt(x)),
    "logarithm": (Logarithm(), mpmath.log),
    "exponential": (Exponential(), mpmath.exp),
    "cube root": (Smooth(lambda x: x ** (1 / 3), lambda x: x ** (-2 / 3) / 3), mpmath.cbrt),
    "logarithm, its derivative given": (Smooth(np.log, lambda x: 1 / x), mpmath.log),
}


def exact(function: Any, a: float, b: float) -> float:
    with mpmath.workdps(50):
        if a == b:
            return float(mpmath.diff(function, mpmath.mpf(a)))
        x, y = mpmath.mpf(a), mpmath.mpf(b)
        return float((function(x) - function(y)) / (x - y))


@pytest.mark.parametrize("name", FUNCTIONS)
@given(
    lower=st.floats(1e-6, 50),
    gap=st.one_of(st.just(0.0), st.floats(1e-15, 1), st.floats(1, 1e6)),
)
def test_divided_differences_do_not_cancel(name: str, lower: float, gap: float) -> None:
    function, formula = FUNCTIONS[name]
    upper = lower * (1 + gap) if name != "exponential" else lower + min(gap, 100)
    F = function.divided_differences(np.array([lower, upper]))
    with mpmath.workdps(50):
        for i, j, a, b in ((0, 0, lower, lower), (0, 1, lower, upper), (1, 0, lower, upper)):
            # A difference of values loses a digit where the two are a tenth apart.
            assert F[i, j] == pytest.approx(exact(formula, a, b), rel=1e-13)


@pytest.mark.parametrize("name", ["logarithm", "exponential", "square-root"])
def test_in_torch_and_in_the_library(name: str) -> None:
    values = torch.tensor([0.5, 2.0, 2.0, 3.0], dtype=torch.float64)
    function: Any = {"logarithm": torch.log, "exponential": torch.exp, "square-root": torch.sqrt}
    M = torch.diag(values).requires_grad_()
    F = eigbench.matrix_function(M, name)
    torch.testing.assert_close(F, torch.diag(function[name](values)), rtol=1e-14, atol=1e-15)
    (G,) = torch.autograd.grad(F.sum(), M)
    formula = {"logarithm": mpmath.log, "exponential": mpmath.exp, "square-root": mpmath.sqrt}
    for i in range(4):
        for j in range(4):
            truth = exact(formula[name], values[i].item(), values[j].item())
            assert G[i, j].item() == pytest.approx(truth, rel=1e-12)


def test_any_smooth_function_through_the_library() -> None:
    M = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    function = Smooth(torch.sin, torch.cos)
    assert torch.autograd.gradcheck(lambda X: eigbench.matrix_function((X + X.mT) / 2, function), M)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_but_for_rounding_are_equal(dtype: torch.dtype) -> None:
    """Of a matrix of rank 3 five eigenvalues are rounding of either sign: near, if not alike."""
    X = torch.randn(3, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))
    M = X.T @ X / 8
    W = torch.randn(8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def gradient(function: SpectralFunction) -> torch.Tensor:
        Y = M.clone().requires_grad_()
        return torch.autograd.grad((W * eigbench.matrix_function(Y, function)).sum(), Y)[0]

    found, exact = gradient(Smooth(torch.exp, torch.exp)), gradient(Exponential())
    assert (found - exact).norm() < 100 * torch.finfo(dtype).eps * exact.norm()


def test_nothing_overflows_that_the_result_does_not() -> None:
    spread = torch.tensor([-100.0, 0.0])
    assert Exponential().divided_differences(spread)[0, 1].item() == pytest.approx(0.01)
    wide = torch.tensor([1e-20, 1e20])
    truth = 40 * np.log(10) / 1e20
    assert Logarithm().divided_differences(wide)[0, 1].item() == pytest.approx(truth, rel=1e-6)
