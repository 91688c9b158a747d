"""Eigenpairs of the methods that differentiate functions of M alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, symmetric_part
from eigbench.phases import phase


class _NoGradient(torch.autograd.Function):
    """`X` as it is; a gradient that would go on from it to `M` raises with `reason`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X: Tensor, M: Tensor, reason: str) -> Tensor:
        return X.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
        ctx.reason = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        raise NotImplementedError(ctx.reason)


def stopped(X: Tensor, M: Tensor, reason: str) -> Tensor:
    """`X` as a result of `M`; a gradient that would go on to `M` raises `NotImplementedError`."""
    result: Tensor = _NoGradient.apply(X, M, reason)
    return result


def eigenvalues_alone(name: str, M: Tensor) -> Eigenpairs:
    """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient.

    It is `V diag(∂L/∂λ) Vᵀ`, exact where λ is simple. One of the eigenvectors raises, and the
    message speaks for the method called `name`.
    """
    with phase("decomposition"):
        eigenvalues, V = torch.linalg.eigh(symmetric_part(M))
    reason = (
        f"{name} has the gradient of functions of M, not of its eigenvectors: "
        "call eigbench.matrix_function, or choose another method"
    )
    return Eigenpairs(eigenvalues, stopped(V.detach(), M, reason))
