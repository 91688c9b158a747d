"""Functions of singular values against the dilation in 40 digits and finite differences."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.methods.functions import Identity, Projector, SpectralFunction, Truncated
from eigbench.methods.smooth import Smooth
from tests.singular.making import literal, rectangular, relative

SINE = Smooth(torch.sinh, torch.cosh)
CUBE = Smooth(lambda x: x**3, lambda x: 3 * x**2)
SHRINK = Smooth(lambda x: (x - 0.5).clamp(min=0), lambda x: (x > 0.5).to(x.dtype))
SHAPES = [(4, 4), (6, 3), (3, 6), (5, 1), (1, 4)]
VALUES = {
    "separate": [2.0, 1.2, 0.7, 0.3],
    "tied": [1.3, 1.3, 0.4, 0.4],
    "zeros": [1.3, 0.6, 0.0, 0.0],
    "tied and zeros": [1.3, 1.3, 0.0, 0.0],
    "nearly tied": [1.0, 1.0 - 1e-9, 0.7, 1e-9],
    "all zero": [0.0, 0.0, 0.0, 0.0],
}


LITERAL: list[tuple[SpectralFunction, Any]] = [
    (SINE, lambda slope, x: mpmath.cosh(x) if slope else mpmath.sinh(x)),
    (CUBE, lambda slope, x: 3 * x**2 if slope else x**3),
    (
        SHRINK,
        lambda slope, x: (
            mpmath.mpf(abs(x) > 0.5) if slope else mpmath.sign(x) * max(abs(x) - 0.5, mpmath.mpf(0))
        ),
    ),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("spectrum", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_at_any_gap(shape: tuple[int, int], spectrum: str, dtype: torch.dtype) -> None:
    values = torch.tensor(VALUES[spectrum], dtype=torch.float64)[: min(shape)]
    M, _, _ = rectangular(values, *shape, dtype)
    G = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(5))
    ours, theirs = zip(*LITERAL, strict=True)
    for function, (value, truth) in zip(ours, literal(theirs, M, G), strict=True):
        X = M.clone().requires_grad_()
        F = eigbench.svd_function(X, function)
        (found,) = torch.autograd.grad(F, X, G)
        scale = max(float(values.max()), 1.0)
        assert (F - value).abs().max() < 1e-14 * scale**3
        assert (found - truth).abs().max() < 1e-13 * float(truth.abs().max() + 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 2), (2, 3)])
def test_finite_differences_both_modes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    M = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    M.requires_grad_()
    kept = torch.arange(min(shape[-2:])) > 0
    for function in (SINE, SHRINK, "logarithm", "square-root", Truncated(Identity(), kept)):
        assert gradcheck(
            lambda M, function=function: eigbench.svd_function(M, function),
            M,
            check_forward_ad=True,
            check_batched_grad=True,
        )


def test_best_approximation_of_lower_rank_at_ties_within() -> None:
    """`Truncated(Identity(), kept)`: singular values may repeat on either side of the cut."""
    M, U, W = rectangular(torch.tensor([2.0, 2.0, 0.5, 0.5]).double(), 6, 4)
    X = M.clone().requires_grad_()
    F = eigbench.svd_function(X, Truncated(Identity(), [False, False, True, True]))
    assert relative(F, 2 * U[:, :2] @ W[:, :2].mT) < 1e-14
    direction = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(F, X, direction)

    def literally(M: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(M, full_matrices=False)
        product: Tensor = (left[:, :2] * values[:2]) @ right[:2]
        return product

    step = 1e-6
    rise = literally(M + step * direction) - literally(M - step * direction)
    assert relative(found, rise / (2 * step)) < 1e-8  # the derivative is its own transpose


SECOND: list[tuple[SpectralFunction | str, tuple[int, int], list[float]]] = [
    (SINE, (3, 2), [0.9, 0.9]),
    (SINE, (2, 2), [0.8, 0.8]),
    ("square-root", (4, 2), [1.3, 1.3]),
    ("logarithm", (3, 3), [1.3, 0.6, 0.6]),
    (Truncated(Identity(), [False, True, True]), (4, 3), [1.3, 1.3, 0.6]),
]


@pytest.mark.parametrize(
    ("place", "dtype"), [*enumerate([torch.float64] * 5), (1, torch.complex128)]
)
def test_second_derivatives_are_those_of_the_first_at_ties(place: int, dtype: torch.dtype) -> None:
    """By differences of the first derivative, which 40 digits have confirmed."""
    function, shape, values = SECOND[place]
    M = rectangular(torch.tensor(values, dtype=torch.float64), *shape, dtype)[0].requires_grad_()
    assert gradgradcheck(lambda M: eigbench.svd_function(M, function), M)


def test_transforms_of_second_derivatives_and_where_there_are_none() -> None:
    def loss(M: Tensor) -> Tensor:
        return eigbench.svd_function(M, SINE).pow(2).sum()  # Σ sinh² σ

    full = torch.eye(3, dtype=torch.float64)
    singular = torch.diag(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    assert (
        relative(torch.func.grad(loss)(singular), (2 * singular).sinh() * (singular != 0)) < 1e-14
    )
    hessian = torch.func.hessian(loss)
    E = torch.arange(9, dtype=torch.float64).reshape(3, 3)
    # The gradient is U sinh(2Σ) Vᵀ: at I its derivative has a symmetric and a skew coefficient.
    S, K = (E + E.mT) / 2, (E - E.mT) / 2
    expected = 2 * torch.cosh(torch.tensor(2.0)) * S + torch.sinh(torch.tensor(2.0)) * K
    assert relative((hessian(full) * E).sum((-2, -1)), expected) < 1e-6
    both = torch.func.vmap(hessian)(torch.stack([full, singular]))
    assert both.flatten(1).isfinite().all(1).tolist() == [True, False]
    for M, said in ((singular, "a singular value is 0"), (full, "no second derivative of this")):
        M.requires_grad_()
        function = SINE if M is singular else Unknown()
        (G,) = torch.autograd.grad(eigbench.svd_function(M, function).sum(), M, create_graph=True)
        with pytest.raises(NotImplementedError, match=said):
            torch.autograd.grad(G.sum(), M)


class Unknown(SpectralFunction):
    """The identity, of which nothing but the first divided differences is known."""

    def values(self, eigenvalues: Tensor) -> Tensor:
        return eigenvalues * 1

    def divided_differences(self, eigenvalues: Tensor) -> Tensor:
        return Identity().divided_differences(eigenvalues)  # type: ignore[no-any-return]


def test_f_that_is_not_0_at_0_is_not_defined_at_two_zeros() -> None:
    ones = Smooth(torch.ones_like, torch.zeros_like)
    M = torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)).requires_grad_()
    G = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    (one_zero,) = torch.autograd.grad(eigbench.svd_function(M, ones), M, G)
    by_polar = torch.autograd.grad(eigbench.polar(M, determinant=1), M, G)[0]
    assert relative(one_zero, by_polar) < 1e-14
    M = torch.diag(torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)).requires_grad_()
    (two_zeros,) = torch.autograd.grad(eigbench.svd_function(M, ones), M, G)
    assert not two_zeros.isfinite().all()


def test_precision_batches_and_what_is_empty() -> None:
    M = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    together = eigbench.svd_function(M, SINE)
    one_by_one = torch.stack([eigbench.svd_function(X, SINE) for X in M])
    assert torch.allclose(together, one_by_one, atol=1e-6)
    assert torch.allclose(torch.func.vmap(lambda X: eigbench.svd_function(X, SINE))(M), together)
    with torch.autocast("cpu"):
        half = eigbench.svd_function(M.half(), SINE)
    assert half.dtype == torch.float32
    assert torch.equal(half, eigbench.svd_function(M.half().float(), SINE))
    compiled = torch.compile(
        lambda X: eigbench.svd_function(X, "square-root"), backend="aot_eager", fullgraph=True
    )
    assert torch.allclose(compiled(M), eigbench.svd_function(M, "square-root"))
    for shape in [(0, 3, 2), (2, 0, 0), (4, 0), (0, 4)]:
        X = torch.zeros(shape, requires_grad=True)
        F = eigbench.svd_function(X, "square-root")
        assert F.shape == torch.autograd.grad(F.sum(), X)[0].shape == shape


def test_what_is_refused() -> None:
    M = torch.eye(3, dtype=torch.float64).requires_grad_()
    with pytest.raises(ValueError, match="unknown function 'sinh'"):
        eigbench.svd_function(M, "sinh")
    with pytest.raises(ValueError, match=r"make eigbench.methods.smooth.Smooth"):
        eigbench.svd_function(M, torch.sinh)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be matrices"):
        eigbench.svd_function(M[0], "square-root")
    with pytest.raises(ValueError, match="must say whether it is chosen"):
        eigbench.svd_function(M, Projector([True, False]))
