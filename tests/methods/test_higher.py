"""Second and third derivatives of f(M) at any gap, against differences of f(M) in 70 digits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.functional import FUNCTIONS
from eigbench.methods.differences import divided_differences
from eigbench.methods.functions import (
    InverseSquareRoot,
    OnRange,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
)
from eigbench.methods.smooth import Smooth
from tests.methods.matrices import relative, symmetric, weights

LEADING = [False, False, True, True]
SPECTRA = {
    "open": [0.3, 0.7, 1.2, 2.0],
    "tied": [0.5, 0.5, 1.5, 1.5],
    "all tied": [0.7, 0.7, 0.7, 0.7],
    "nearly tied": [0.5, 0.5 + 1e-9, 1.5, 1.5 + 1e-5],
    "wide": [1e-4, 1e-2, 1.0, 1.0],
}
TINY = mpmath.mpf(10) ** -16


def clamp(x: Any) -> Any:
    return max(x, mpmath.mpf("0.9"))


LITERAL: dict[str, tuple[SpectralFunction | str, Callable[[Any], Any]]] = {
    **{
        name: (name, function)
        for name, function in {
            "inverse-square-root": lambda x: 1 / mpmath.sqrt(x),
            "square-root": mpmath.sqrt,
            "logarithm": mpmath.log,
            "exponential": mpmath.exp,
            "identity": lambda x: x,
        }.items()
    },
    "sine": (Smooth(torch.sin, torch.cos), mpmath.sin),
    "clamp": (Smooth(lambda x: x.clamp(min=0.9), lambda x: (x > 0.9).to(x.dtype)), clamp),
}
CUT: dict[str, tuple[SpectralFunction, Callable[[Any], Any]]] = {
    "projector": (Projector(LEADING), lambda x: mpmath.mpf(1)),
    "truncated": (Truncated(InverseSquareRoot(), LEADING), lambda x: 1 / mpmath.sqrt(x)),
    "on range": (OnRange(SquareRoot(), 2), mpmath.sqrt),
    "sine, cut": (Truncated(Smooth(torch.sin, torch.cos), LEADING), mpmath.sin),
}


def literal(
    function: Callable[[Any], Any], M: Tensor, directions: list[Tensor], *, kept: int = 4
) -> Tensor:
    """`Dᵏf(M)` along all `directions` by central differences, of `kept` leading pairs."""
    with mpmath.workdps(70):
        base = mpmath.matrix(M.tolist())
        steps = [mpmath.matrix(E.tolist()) * TINY for E in directions]
        total = mpmath.zeros(4, 4)
        for signs in product((1, -1), repeat=len(steps)):
            moved = base + sum((s * step for s, step in zip(signs, steps, strict=True)), 0 * base)
            values, V = mpmath.eigsy(moved)
            parts = [function(x) if i >= 4 - kept else 0 for i, x in enumerate(values)]
            total += mpmath.fprod(signs) * V * mpmath.diag(parts) * V.T
        total /= (2 * TINY) ** len(steps)
        rounded = [[float(x) for x in row] for row in total.tolist()]
        return torch.tensor(rounded, dtype=torch.float64)


def along(function: SpectralFunction | str, M: Tensor, directions: list[Tensor]) -> Tensor:
    """The same by reverse modes: `Dᵏf(M)` is symmetric, so `⟨E₁, f⟩` may be differentiated."""
    X = M.clone().requires_grad_()
    found = eigbench.matrix_function(X, function)
    for E in directions:
        (found,) = torch.autograd.grad((E * found).sum(), X, create_graph=True)
    return found.detach()


def some_directions(count: int) -> list[Tensor]:
    return [weights(torch.empty(4, 4, dtype=torch.float64), seed) for seed in range(1, count + 1)]


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("name", LITERAL)
def test_second_derivatives_at_any_gap(name: str, spectrum: str) -> None:
    ours, theirs = LITERAL[name]
    M = symmetric(torch.tensor(SPECTRA[spectrum], dtype=torch.float64))
    truth = literal(theirs, M, some_directions(2))
    found = along(ours, M, some_directions(2))
    assert (found - truth).abs().max() < 1e-11 * truth.abs().max() + 1e-13
    # Of the wide one, M itself is rounded: 1e-16 beside 1e-4, to the power −5/2.


@pytest.mark.parametrize("spectrum", ["open", "tied", "nearly tied"])
@pytest.mark.parametrize("name", CUT)
def test_across_a_cut(name: str, spectrum: str) -> None:
    ours, theirs = CUT[name]
    M = symmetric(torch.tensor(SPECTRA[spectrum], dtype=torch.float64))
    truth = literal(theirs, M, some_directions(2), kept=2)
    assert relative(along(ours, M, some_directions(2)), truth) < 1e-12


@pytest.mark.parametrize("spectrum", ["open", "tied", "all tied"])
@pytest.mark.parametrize("name", ["inverse-square-root", "square-root", "logarithm", "sine"])
def test_third_derivatives(name: str, spectrum: str) -> None:
    ours, theirs = LITERAL[name]
    M = symmetric(torch.tensor(SPECTRA[spectrum], dtype=torch.float64))
    truth = literal(theirs, M, some_directions(3))
    assert relative(along(ours, M, some_directions(3)), truth) < 1e-10


def hermitian(X: Tensor) -> Tensor:
    return (X + X.mH) / 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradgradcheck(name: str, dtype: torch.dtype) -> None:
    M = symmetric(torch.tensor([[0.4, 0.9, 1.6], [0.5, 0.5, 2.0]], dtype=torch.float64)).to(dtype)
    if dtype.is_complex:
        turn = torch.randn(3, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
        Q, _ = torch.linalg.qr(turn)
        M = Q @ M @ Q.mH
    M.requires_grad_()

    def function(M: Tensor) -> Tensor:
        return eigbench.matrix_function(hermitian(M), name)

    assert gradcheck(function, M, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, M, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_hessian_of_the_log_determinant_at_ties() -> None:
    """Σ log λ at diag(2, 2, 5): 55 to 110 % off in nine methods once, and refused since."""
    M = torch.diag(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64))

    def log_determinant(M: Tensor) -> Tensor:
        return eigbench.matrix_function((M + M.mT) / 2, "logarithm").trace()

    E, inverse = weights(M), torch.linalg.inv(M)
    found = (torch.func.hessian(log_determinant)(M) * E).sum((-2, -1))
    assert relative(found, -inverse @ E @ inverse) < 1e-14
    batched = torch.func.vmap(torch.func.hessian(log_determinant))(torch.stack([M, M + E / 9]))
    assert relative((batched[0] * E).sum((-2, -1)), found) < 1e-14


def test_float32_is_computed_in_float64_inside() -> None:
    M = symmetric(torch.tensor([0.5, 0.5 + 1e-4, 0.5 + 2e-4, 2.0]))
    truth = literal(mpmath.log, M.double(), some_directions(2))
    found = along("logarithm", M, [E.float() for E in some_directions(2)])
    assert found.dtype == torch.float32
    assert relative(found, truth) < 1e-5


@pytest.mark.parametrize("order", [2, 3])
def test_divided_differences_of_the_exponential(order: int) -> None:
    """Against the recursion in 60 digits, far and close and equal."""
    values = [-1.0, -1.0, -1.0 + 1e-8, 0.2, 3.0, 40.0]

    def literally(x: list[Any]) -> Any:
        if x[0] == x[-1]:
            return mpmath.exp(x[0]) / mpmath.factorial(len(x) - 1)
        return (literally(x[1:]) - literally(x[:-1])) / (x[-1] - x[0])

    found = divided_differences(FUNCTIONS["exponential"], torch.tensor(values).double(), order)
    with mpmath.workdps(60):
        for place in product(range(len(values)), repeat=order + 1):
            chosen = [mpmath.mpf(float(x)) for x in torch.tensor(values).double()[sorted(place)]]
            assert abs(float(found[place]) / float(literally(chosen)) - 1) < 1e-12
