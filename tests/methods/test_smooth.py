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


# Kinks, jumps and zeros

ZERO = torch.zeros(2, dtype=torch.float64)


def kink_at(place: float) -> Smooth:
    """max(x, place), as torch.clamp and relu have it."""
    return Smooth(lambda x: np.maximum(x, place), lambda x: (x > place) * 1.0)


def two_kinks(low: float, high: float) -> Smooth:
    return Smooth(lambda x: np.clip(x, low, high), lambda x: ((x > low) & (x < high)) * 1.0)


def step_at(place: float) -> Smooth:
    return Smooth(lambda x: (x > place) * 1.0, lambda x: 0.0 * x)


def steep(place: float, width: float) -> Smooth:
    """A sigmoid, whose slope is 0 at every node but in a width."""
    return Smooth(
        lambda x: 0.5 + 0.5 * np.tanh((x - place) / width),
        lambda x: 0.5 / width / np.cosh(np.minimum(abs(x - place) / width, 300)) ** 2,
    )


EDGES: dict[str, tuple[Smooth, float, float]] = {
    "before the first node": (kink_at(0.02), 0.001, 1.2),
    "after the last node": (kink_at(1.19), 0.001, 1.2),
    "in the middle": (kink_at(0.61), 0.001, 1.2),
    "off the middle": (kink_at(0.67), 0.001, 1.2),
    "at an eigenvalue": (kink_at(0.3), 0.3, 0.9),
    "of a close pair": (kink_at(1.0001), 1.0, 1.0003),
    "of a closer pair": (kink_at(1 + 2e-9), 1.0, 1 + 5e-9),
    "two kinks between two nodes": (two_kinks(0.45, 0.47), 0.0, 1.0),
    "two kinks round a node": (two_kinks(0.30, 0.33), 0.1, 1.0),
    "a jump": (step_at(0.7), 0.2, 1.1),
    "a jump within a close pair": (step_at(0.70001), 0.7, 0.70002),
    "a steep slope": (steep(0.3337, 1e-5), 0.01, 0.9),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_divided_difference_across_an_edge_is_the_quotient(name: str) -> None:
    function, a, b = EDGES[name]
    F = function.divided_differences(np.array([a, b]))
    truth = (function.function(np.array(b)) - function.function(np.array(a))) / (b - a)
    # What rounding leaves of the quotient: of a jump all, of 5e-9 eight digits.
    assert F[0, 1] == F[1, 0] == pytest.approx(float(truth), rel=1e-7 if b - a < 1e-8 else 1e-12)
    torch_values = torch.tensor([a, b], dtype=torch.float64)
    alike = Smooth(lambda x: torch.tensor(function.function(x.numpy())),
                   lambda x: torch.tensor(function.derivative(x.numpy())))  # fmt: skip
    assert alike.divided_differences(torch_values)[0, 1].item() == pytest.approx(F[0, 1], rel=1e-15)


@given(place=st.floats(0.0011, 1.1999))
def test_no_place_hides_a_kink(place: float) -> None:
    F = kink_at(place).divided_differences(np.array([0.001, 1.2]))
    assert F[0, 1] == pytest.approx((1.2 - place) / 1.199, rel=1e-12)


@pytest.mark.parametrize("gap", [0.0, 1e-19, 1e-16, 1e-12, 1e-8, 1e-5])
def test_values_that_cancel_do_not_spoil_a_close_pair(gap: float) -> None:
    """1 − exp(−x) written as it is loses three digits at 1e-3, and its quotient all."""
    function = Smooth(lambda x: 1 - np.exp(-x), lambda x: np.exp(-x))
    F = function.divided_differences(np.array([1e-3, 1e-3 + gap]))
    assert F[0, 1] == pytest.approx(
        exact(lambda x: 1 - mpmath.exp(-x), 1e-3, 1e-3 + gap), rel=1e-12
    )


ENTROPIES: dict[str, Smooth] = {
    "defined at 0": Smooth(torch.special.entr, lambda x: -x.log() - 1),
    "NaN at 0": Smooth(lambda x: -x * x.log(), lambda x: -x.log() - 1),
}


@pytest.mark.parametrize("theta", [0.6, 0.2, 1.1])
@pytest.mark.parametrize("name", ENTROPIES)
def test_entropy_at_zeros(name: str, theta: float) -> None:
    """S = −p log p − (1 − p) log(1 − p) with p = cos²θ, and dS/dθ = sin 2θ log(cos²θ/sin²θ)."""
    with mpmath.workdps(30):
        c, s = mpmath.cos(theta) ** 2, mpmath.sin(theta) ** 2
        value = float(-c * mpmath.log(c) - s * mpmath.log(s))
        slope = float(mpmath.sin(2 * mpmath.mpf(theta)) * mpmath.log(c / s))
    if theta == 0.6:
        assert slope == pytest.approx(0.7076, abs=5e-5)
    angle = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    values = torch.cat([torch.stack([angle.cos() ** 2, angle.sin() ** 2]), ZERO])
    entropy = eigbench.matrix_function(torch.diag(values), ENTROPIES[name]).diagonal().sum()
    assert entropy.item() == pytest.approx(value, rel=1e-14)
    (found,) = torch.autograd.grad(entropy, angle)
    assert found.item() == pytest.approx(slope, rel=1e-13)


@pytest.mark.parametrize("name", ENTROPIES)
def test_an_infinite_slope_is_infinite_and_only_there(name: str) -> None:
    values = torch.tensor([0.7, 0.3, 0.0, 0.0], dtype=torch.float64)
    M = torch.diag(values).requires_grad_()
    S = eigbench.matrix_function(M, ENTROPIES[name])
    (G,) = torch.autograd.grad(S.diagonal().sum(), M, retain_graph=True)
    slopes = [pytest.approx(-np.log(value) - 1) for value in (0.7, 0.3)]
    assert G.diagonal().tolist() == [*slopes, np.inf, np.inf]
    (G,) = torch.autograd.grad(S.sum(), M)  # between a zero and another it is the quotient
    assert G[0, 2].item() == pytest.approx(-np.log(0.7), rel=1e-14)
    assert G[2:, 2:].isinf().all()
    assert G[:2, :2].isfinite().all()


@pytest.mark.parametrize("name", ENTROPIES)
def test_entropy_in_any_basis_by_its_rank(name: str) -> None:
    """Zeros that rounding has moved, to either side; the derivative by what keeps the rank."""
    Q, _ = torch.linalg.qr(
        torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    )
    angle = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    values = torch.cat([torch.stack([angle.cos() ** 2, angle.sin() ** 2]), ZERO])
    M = Q @ torch.diag(values) @ Q.T
    plain = eigbench.matrix_function(M, ENTROPIES[name]).diagonal().sum()
    for rank in (2, "numerical"):
        entropy = eigbench.matrix_function(M, ENTROPIES[name], rank=rank).diagonal().sum()
        assert plain.item() == pytest.approx(entropy.item(), abs=1e-13)
        (found,) = torch.autograd.grad(entropy, angle, retain_graph=True)
        assert found.item() == pytest.approx(0.7075989, rel=1e-6)


def test_what_is_infinite_is_not_smoothed_over() -> None:
    """log has no value at 0, and no divided difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        F = Smooth(np.log, lambda x: 1 / x).divided_differences(np.array([0.0, 0.5, 1.0]))
    assert np.isinf(F[0]).all()
    assert F[1, 2] == pytest.approx(2 * np.log(2), rel=1e-14)
