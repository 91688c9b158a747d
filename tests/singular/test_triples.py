"""Singular triples against finite differences, torch, and `eigbench.eigh` of symmetric matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.methods import available, get
from tests.methods.declared import converged
from tests.methods.matrices import separated, symmetric
from tests.singular.making import rectangular, relative

TABLES = [
    name
    for name in available()
    if hasattr(get(name), "half_coefficients") and name not in ("topn", "hybrid-eq10")
]
SHAPES = [(4, 4), (6, 3), (3, 5), (2, 4, 3), (4, 1), (1, 1)]


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def invariant(U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """Of no sign and no phase: entries of U log(1 + σ) Vᴴ, of U σ Uᴴ and of V σ³ Vᴴ, and Σ iσi."""
    mixed = (U * (1 + S).log()[..., None, :]) @ Vh
    left = (U * S[..., None, :]) @ U.mH
    right = (Vh.mH * (S**3)[..., None, :]) @ Vh
    ranks = torch.arange(S.shape[-1], dtype=S.dtype)
    parts = [X[..., 0, -1].abs().square().sum() + X[..., -1, 0].real.sum() for X in (mixed, left)]
    total: Tensor = sum(parts, (ranks * S).sum()) + right[..., 0, -1].real.sum()
    return total


def gradient(M: Tensor, method: str, **parameters: object) -> Tensor:
    X = M.clone().requires_grad_()
    triples = eigbench.svd(X, method=method, **parameters)
    return torch.autograd.grad(invariant(*triples), X)[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_analytic_is_torchs_and_the_finite_difference(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    M = drawn(shape, dtype).requires_grad_()
    triples = eigbench.svd(M, method="eigh")
    torchs = torch.linalg.svd(M, full_matrices=False)
    assert all(torch.equal(*both) for both in zip(triples, torchs, strict=True))
    (truth,) = torch.autograd.grad(invariant(*torchs), M)
    assert relative(gradient(M.detach(), "eigh"), truth) < 1e-11

    def loss(M: Tensor) -> Tensor:
        return invariant(*eigbench.svd(M, method="eigh"))

    assert gradcheck(loss, M, check_forward_ad=not dtype.is_complex)
    assert gradgradcheck(loss, M)


@pytest.mark.parametrize("method", TABLES)
def test_of_a_symmetric_matrix_it_is_that_of_the_eigenvectors(method: str) -> None:
    """The table of σ is that of λ, and only it is left: with the default parameters."""
    M = separated(5)
    X, Y = M.clone().requires_grad_(), M.clone().requires_grad_()
    U, S, _ = eigbench.svd(X, method=method)
    values, V = eigbench.eigh(Y, method=method)
    weights = torch.arange(25.0, dtype=torch.float64).reshape(5, 5)
    by_svd = torch.autograd.grad((weights * ((U * S.log()) @ U.mT)).sum(), X)[0]
    by_eigh = torch.autograd.grad((weights * ((V * values.log()) @ V.mT)).sum(), Y)[0]
    assert relative((by_svd + by_svd.mT) / 2, by_eigh) < 1e-12


@pytest.mark.parametrize("method", [name for name in TABLES if converged(name)])
@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 5)])
def test_what_has_converged_is_analytic(shape: tuple[int, int], method: str) -> None:
    values = torch.tensor([2.0, 1.0, 0.5, 0.25], dtype=torch.float64)[: min(shape)]
    M, _, _ = rectangular(values, *shape)
    assert relative(gradient(M, method, **converged(method)), gradient(M, "eigh")) < 1e-3


@pytest.mark.parametrize("values", [[1.0, 1.0, 0.3], [1.0, 0.3, 0.3], [0.7, 0.7, 0.7]])
@pytest.mark.parametrize("method", ["hybrid", "taylor", "clip", "lorentzian"])
def test_a_tie_is_finite_where_the_method_says_so(method: str, values: list[float]) -> None:
    M = torch.diag(torch.tensor(values, dtype=torch.float64))
    assert gradient(M, method).isfinite().all()
    X = M.clone().requires_grad_()
    G = torch.autograd.grad(eigbench.svd(X, method=method)[0].sum(), X, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match=f"{method} has no second derivative here"):
        torch.autograd.grad(G.sum(), X)


def test_a_loss_of_phases_is_refused() -> None:
    M = drawn((3, 3), torch.complex128).requires_grad_()
    U, _, Vh = eigbench.svd(M, method="eigh")
    with pytest.raises(RuntimeError, match="depends on the phases"):
        torch.autograd.grad(U[0, 0].real, M, retain_graph=True)
    outer = (U[:, :1] @ Vh[:1])[0, 1].real
    assert torch.autograd.grad(outer, M)[0].isfinite().all()


def test_singular_values_alone_at_zeros_and_ties() -> None:
    M, U, W = rectangular(torch.tensor([2.0, 2.0, 0.0, 0.0]).double(), 6, 4)
    X = M.requires_grad_()
    S = eigbench.svd(X, method="hybrid").S
    (G,) = torch.autograd.grad(S[:2].sum(), X)
    assert relative(G, U[:, :2] @ W[:, :2].mT) < 1e-13


def test_transforms_precision_and_what_is_empty() -> None:
    M = drawn((3, 4, 4))
    whole = torch.func.vmap(torch.func.grad(lambda X: invariant(*eigbench.svd(X))))(M)
    assert torch.allclose(whole, gradient(M, "hybrid"))
    compiled = torch.compile(
        lambda X: invariant(*eigbench.svd(X)), backend="aot_eager", fullgraph=True
    )
    X = M.clone().requires_grad_()
    assert torch.allclose(torch.autograd.grad(compiled(X), X)[0], whole)
    with torch.autocast("cpu"):
        assert eigbench.svd(M.bfloat16()).S.dtype == torch.float32
    for shape in [(0, 3, 2), (2, 0, 0), (0, 4), (3, 0)]:
        for dtype in (torch.float32, torch.complex64):
            X = torch.zeros(shape, dtype=dtype, requires_grad=True)
            U, S, _ = eigbench.svd(X)
            assert torch.autograd.grad(S.sum() + U.abs().sum(), X)[0].shape == shape


def test_what_is_refused() -> None:
    M = symmetric(torch.tensor([1.0, 2.0]))
    for method in ("pi", "spectral", "topn", "hybrid-eq10"):
        with pytest.raises(ValueError, match=r"is no table of coefficients .* these are: eigh"):
            eigbench.svd(M, method=method)
    with pytest.raises(ValueError, match="has no parameter 'terms'"):
        eigbench.svd(M, method="hybrid", terms=3)
    with pytest.raises(TypeError, match="not int64"):
        eigbench.svd(M.long())
