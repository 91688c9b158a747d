"""Pencils A v = λ B v against SciPy, finite differences and the truth of a known pencil."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.errors import InputError
from tests.methods.declared import WITH_PAIRS, converged
from tests.methods.matrices import relative, separated, symmetric, weights


def definite(n: int, batch: tuple[int, ...] = (), seed: int = 3) -> Tensor:
    values = torch.linspace(0.5, 2, n, dtype=torch.float64).expand(*batch, n)
    return symmetric(values, seed)


def invariant(values: Tensor, V: Tensor) -> Tensor:
    """What depends on no sign: ⟨W, V log(2 + λ) Vᵀ⟩ + Σ iλi."""
    W = weights(V)
    ranks = torch.arange(V.shape[-1], dtype=V.dtype)
    total: Tensor = (W * ((V * torch.log(2 + values)[..., None, :]) @ V.mT)).sum()
    return total + (ranks * values).sum()


def test_pairs_are_scipys() -> None:
    A, B = separated(5) - 0.3 * torch.eye(5), definite(5)
    values, V = eigbench.eigh(A, B=B, method="eigh")
    theirs, vectors = scipy.linalg.eigh(A.numpy(), B.numpy())
    assert relative(values, torch.from_numpy(theirs)) < 1e-14
    assert relative(V.abs(), torch.from_numpy(vectors).abs()) < 1e-13
    assert torch.allclose(V.mT @ B @ V, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_gradients_to_both_are_the_finite_differences(batch: tuple[int, ...]) -> None:
    A = separated(4, batch).requires_grad_()
    B = definite(4).requires_grad_()  # one for the batch

    def loss(A: Tensor, B: Tensor) -> Tensor:
        A, B = (A + A.mT) / 2, (B + B.mT) / 2
        return invariant(*eigbench.eigh(A, B=B, method="eigh"))

    assert gradcheck(loss, (A, B))
    assert gradgradcheck(loss, (A, B))
    G = torch.autograd.grad(invariant(*eigbench.eigh(A, B=B, method="eigh")), (A, B))
    for X in G:
        assert torch.allclose(X, X.mT, atol=1e-12)


@pytest.mark.parametrize("method", WITH_PAIRS)
def test_every_method_has_them(method: str) -> None:
    """With the parameters at which it has converged; of its first gradient."""
    A, B = separated(4), definite(4)

    def gradients(name: str) -> Tensor:
        X, Y = A.clone().requires_grad_(), B.clone().requires_grad_()
        pairs = eigbench.eigh(X, B=Y, method=name, **converged(name))
        return torch.stack(torch.autograd.grad(invariant(*pairs), (X, Y)))

    found, truth = gradients(method), gradients("eigh")
    assert found.isfinite().all()
    if method in ("clip", "trunc", "lorentzian", "pade", "implicit", "svd"):
        assert relative(found, truth) < 1e-3


def test_eigenvalues_alone_at_a_tie() -> None:
    """Σ f(λ) of the pencil: ∂/∂A = V f′ Vᵀ and ∂/∂B = −V λf′ Vᵀ at any gap."""
    B = definite(4).requires_grad_()
    with torch.no_grad():
        L = torch.linalg.cholesky(B)
        C = symmetric(torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=torch.float64), 5)
        A = L @ C @ L.mT
    A.requires_grad_()
    values, V = eigbench.eigh(A, B=B, method="spectral")
    found = torch.autograd.grad(values.exp().sum(), (A, B))
    V, values = V.detach(), values.detach()
    truth = (V * values.exp()) @ V.mT, -(V * (values * values.exp())) @ V.mT
    assert relative(found[0], truth[0]) < 1e-13
    assert relative(found[1], truth[1]) < 1e-13


def test_triangles_half_precision_autocast_and_what_is_empty() -> None:
    A, B = separated(4).float(), definite(4).float()
    whole = eigbench.eigh(A, B=B, method="eigh")
    lower = eigbench.eigh(A.tril(), "L", B=B.tril(), method="eigh")
    assert torch.allclose(lower.eigenvalues, whole.eigenvalues)
    half = eigbench.eigh(A.half(), B=B.half(), method="eigh").eigenvalues
    assert half.dtype == torch.float32
    X, Y = A.clone().requires_grad_(), B.clone().requires_grad_()
    outside = torch.autograd.grad(invariant(*eigbench.eigh(X, B=Y, method="eigh")), (X, Y))
    with torch.autocast("cpu"):
        pairs = eigbench.eigh(X, B=Y, method="eigh")
        (by_A,) = torch.autograd.grad(pairs.eigenvalues.sum(), X, retain_graph=True)
        constant = eigbench.eigh(A, B=Y, method="eigh").eigenvalues
        (by_B,) = torch.autograd.grad(constant.sum(), Y)
    assert by_A.isfinite().all()
    assert by_B.isfinite().all()
    found = torch.autograd.grad(invariant(*pairs), (X, Y))
    assert all(torch.allclose(*both) for both in zip(found, outside, strict=True))
    for shape in [(0, 3, 3), (2, 0, 0)]:
        empty = torch.zeros(shape, requires_grad=True)
        values, _ = eigbench.eigh(empty, B=empty)
        assert torch.autograd.grad(values.sum(), empty)[0].shape == shape


def test_what_is_refused() -> None:
    A, B = separated(4), definite(4)
    with pytest.raises(InputError, match=r"of one size, not of shapes \(4, 4\) and \(3, 3\)"):
        eigbench.eigh(A, B=B[:3, :3])
    with pytest.raises(TypeError, match="of one dtype, not float64 and float32"):
        eigbench.eigh(A, B=B.float())
    with pytest.raises(RuntimeError, match="not positive-definite"):
        eigbench.eigh(A, B=-B)
