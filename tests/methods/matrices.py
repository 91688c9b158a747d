"""Matrices and losses that the tests of methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Eigh = Callable[[Tensor], Any]


def symmetric(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """`(..., n, n)` with these eigenvalues `(..., n)`, in a random orthogonal basis."""
    generator = torch.Generator().manual_seed(seed)
    n = eigenvalues.shape[-1]
    shape = (*eigenvalues.shape[:-1], n, n)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    Q, _ = torch.linalg.qr(drawn)
    M = (Q * eigenvalues.to(torch.float64)[..., None, :]) @ Q.mT
    rounded: Tensor = ((M + M.mT) / 2).to(eigenvalues.dtype)
    return rounded


def separated(n: int, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Tensor:
    """Positive definite `(*batch, n, n)`: each eigenvalue is half of the next.

    But for the second largest, which is 0.4 of the largest: so one gap is the widest.
    """
    values = 0.5 ** torch.arange(n, dtype=torch.float64)
    values[1:] *= 0.8
    steps = torch.linspace(1, 1.3, max(1, torch.Size(batch).numel()), dtype=torch.float64)
    return symmetric((values * steps[:, None]).reshape(*batch, n)).to(dtype)


def weights(like: Tensor, seed: int = 7) -> Tensor:
    """A fixed random symmetric matrix."""
    generator = torch.Generator().manual_seed(seed)
    n = like.shape[-1]
    W = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return ((W + W.mT) / 2).to(like.dtype)


def loss_of(eigh: Eigh, n: int, dtype: torch.dtype = torch.float64) -> Callable[[Tensor], Tensor]:
    """⟨W, V diag(log(1 + λ²)) Vᵀ⟩ + Σ i·λi: depends on no sign and no basis."""
    W, ranks = weights(torch.empty(n, n, dtype=dtype)), torch.arange(n, dtype=dtype)

    def loss(M: Tensor) -> Tensor:
        values, V = eigh((M + M.mT) / 2)
        function = (V * torch.log1p(values**2)[..., None, :]) @ V.mT
        total: Tensor = (W * function).sum() + (ranks * values).sum()
        return total

    return loss


def gradient(eigh: Eigh, M: Tensor) -> Tensor:
    """The gradient of `loss_of`."""
    X = M.clone().requires_grad_()
    found: Tensor = torch.autograd.grad(loss_of(eigh, M.shape[-1], M.dtype)(X), X)[0]
    return found


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖/‖truth‖, in float64."""
    found, truth = found.detach().double(), truth.detach().double()
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))
