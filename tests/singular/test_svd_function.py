"""Functions of singular values against the dilation in 40 digits and finite differences."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import eigbench
from eigbench.methods.functions import Identity, Projector, SpectralFunction, Truncated
from eigbench.methods.smooth import Smooth
from tests.singular.making import rectangular, relative

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


def literal(function: Any, M: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
    """`F` and `∂⟨G, F⟩/∂M` in 40 digits, by eigenpairs of the dilation."""
    m, n = M.shape
    with mpmath.workdps(40):
        D = mpmath.zeros(m + n, m + n)
        E = mpmath.zeros(m + n, m + n)
        for i in range(m):
            for j in range(n):
                D[i, m + j] = mpmath.mpmathify(complex(M[i, j]))
                D[m + j, i] = mpmath.conj(D[i, m + j])
                E[i, m + j] = mpmath.mpmathify(complex(G[i, j]))
                E[m + j, i] = mpmath.conj(E[i, m + j])
        values, V = mpmath.eighe(D)
        core = V.H * E * V
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                middle = function(mpmath.taylor, (a + b) / 2)
                close = abs(a - b) < 1e-15  # in 40 digits a tie, but for what rounding M left of it
                core[i, j] *= middle if close else (function(0, a) - function(0, b)) / (a - b)
        F = V * mpmath.diag([function(0, a) for a in values]) * V.H
        L = V * core * V.H
        blocks = [[[complex(X[i, m + j]) for j in range(n)] for i in range(m)] for X in (F, L)]
    found = [torch.tensor(block, dtype=torch.complex128) for block in blocks]
    return (found[0], found[1]) if M.is_complex() else (found[0].real, found[1].real)


LITERAL: dict[str, tuple[SpectralFunction, Any]] = {
    "sinh": (SINE, lambda slope, x: mpmath.cosh(x) if slope else mpmath.sinh(x)),
    "cube": (CUBE, lambda slope, x: 3 * x**2 if slope else x**3),
    "shrink": (
        SHRINK,
        lambda slope, x: (
            mpmath.mpf(abs(x) > 0.5) if slope else mpmath.sign(x) * max(abs(x) - 0.5, mpmath.mpf(0))
        ),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("function", LITERAL)
@pytest.mark.parametrize("spectrum", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_at_any_gap(
    shape: tuple[int, int], spectrum: str, function: str, dtype: torch.dtype
) -> None:
    values = torch.tensor(VALUES[spectrum], dtype=torch.float64)[: min(shape)]
    M, _, _ = rectangular(values, *shape, dtype)
    G = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(5))
    ours, theirs = LITERAL[function]
    value, truth = literal(theirs, M, G)
    X = M.clone().requires_grad_()
    F = eigbench.svd_function(X, ours)
    (found,) = torch.autograd.grad(F, X, G)
    scale = max(float(values.max()), 1.0)
    assert (F - value).abs().max() < 1e-14 * scale**3
    assert (found - truth).abs().max() < 1e-13 * float(truth.abs().max() + 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(4, 4), (2, 5, 3), (3, 5)])
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
    (G,) = torch.autograd.grad(eigbench.svd_function(M, CUBE).sum(), M, create_graph=True)
    with pytest.raises(NotImplementedError, match="svd_function has no second derivative"):
        torch.autograd.grad(G.sum(), M)
