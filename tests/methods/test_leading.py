"""A few eigenpairs, against the gradient of the whole decomposition and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import eigbench
from tests.methods.matrices import symmetric

VALUES = [0.1, 0.2, 0.2, 0.2, 0.5, 0.9, 1.4, 2.0]
"""Ties among those that are left out."""


def loss_of(values: Tensor, X: Tensor) -> Tensor:
    """Of no sign: entries of X λ² Xᴴ, and Σ (i + 1) λi."""
    mixed = (X * (values**2)[..., None, :]) @ X.mH
    ranks = torch.arange(1, values.shape[-1] + 1, dtype=values.dtype)
    total: Tensor = mixed[..., 0, :].real.sum() + (ranks * values).sum()
    return total


def matrix(dtype: torch.dtype = torch.float64) -> Tensor:
    M = symmetric(torch.tensor(VALUES, dtype=torch.float64)).to(dtype)
    if dtype.is_complex:
        turn = torch.randn(8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
        Q, _ = torch.linalg.qr(turn)
        M = Q @ M @ Q.mH
        M = (M + M.mH) / 2
    return M


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("k", "largest"), [(1, True), (3, True), (1, False), (8, True)])
def test_finite_differences(k: int, largest: bool, dtype: torch.dtype) -> None:
    if k == 8:
        M = symmetric(torch.linspace(0.2, 2, 8, dtype=torch.float64)).to(dtype)
    else:
        M = matrix(dtype)
    M.requires_grad_()

    def loss(M: Tensor) -> Tensor:
        return loss_of(*eigbench.leading_eigh((M + M.mH) / 2, k, largest=largest))

    assert gradcheck(loss, M)


def test_several_matrices_and_those_of_the_whole_decomposition() -> None:
    M = torch.stack([matrix(), 2 * matrix() + torch.eye(8)]).requires_grad_()
    few = eigbench.leading_eigh(M, 3)
    whole = torch.linalg.eigh(M)
    assert torch.equal(few.eigenvalues, whole[0][..., 5:])
    (found,) = torch.autograd.grad(loss_of(*few), M)
    assert torch.allclose(found, found.mT)
    open_gaps = (M + 1e-3 * torch.diag(torch.arange(8.0).double())).detach().requires_grad_()
    (truth,) = torch.autograd.grad(
        loss_of(*(x[..., 5:] for x in torch.linalg.eigh(open_gaps))), open_gaps
    )
    (found,) = torch.autograd.grad(loss_of(*eigbench.leading_eigh(open_gaps, 3)), open_gaps)
    assert torch.allclose(found, (truth + truth.mT) / 2, rtol=1e-8, atol=1e-9)


def test_pairs_of_lobpcg() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.cat([torch.rand(117, generator=generator), torch.tensor([1.5, 2.0, 3.0])])
    M = symmetric(values.double()).requires_grad_()
    theirs = torch.lobpcg(M.detach(), k=3, tol=1e-10, niter=300)
    values, X = eigbench.leading_eigh(M, pairs=theirs)
    (found,) = torch.autograd.grad(X[0].square().sum() + X[0, 0] * X[1, 0] + values[2], M)
    dense, V = eigbench.leading_eigh(M, 3)
    (truth,) = torch.autograd.grad(V[0].square().sum() + V[0, 2] * V[1, 2] + dense[0], M)
    assert torch.allclose(found, truth, atol=1e-6)


def test_float32() -> None:
    M, N = matrix().float().requires_grad_(), matrix().requires_grad_()
    (found,) = torch.autograd.grad(loss_of(*eigbench.leading_eigh(M, 2)), M)
    (truth,) = torch.autograd.grad(loss_of(*eigbench.leading_eigh(N, 2)), N)
    assert torch.allclose(found.double(), truth, rtol=1e-4, atol=1e-4)


def test_what_is_refused() -> None:
    M = matrix().requires_grad_()
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 8, not 9"):
        eigbench.leading_eigh(M, 9)
    with pytest.raises(ValueError, match=r"not of shapes \(2,\) and \(7, 2\)"):
        eigbench.leading_eigh(M, pairs=(torch.ones(2), torch.ones(7, 2)))
    with pytest.raises(TypeError, match="not int64"):
        eigbench.leading_eigh(M.long(), 1)
    cut = torch.diag(torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)).requires_grad_()
    with pytest.raises(RuntimeError, match="did not converge"):
        torch.autograd.grad(eigbench.leading_eigh(cut, 1).eigenvectors.sum(), cut)
    (G,) = torch.autograd.grad(loss_of(*eigbench.leading_eigh(M, 2)), M, create_graph=True)
    with pytest.raises(NotImplementedError, match="leading_eigh has no second derivative"):
        torch.autograd.grad(G.sum(), M)
