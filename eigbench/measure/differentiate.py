"""One forward and backward pass of any method, with everything a measurement needs of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import Eigenpairs, Method, reconstruct
from eigbench.methods.functions import SpectralFunction


@dataclass(frozen=True)
class Derivative:
    """What a method gives for `(..., n, n)`, and the loss's gradients, all detached."""

    pairs: Eigenpairs | None
    """None for a method that computes functions without eigenpairs."""
    composed: Tensor
    """`f(M)` `(..., n, n)`."""
    gradient: Tensor
    """`∂L/∂M` `(..., n, n)`."""
    by_eigenvalues: Tensor
    """`∂L/∂λ` `(..., n)`: of the loss by the pairs alone, whatever the method.

    By those that `torch.linalg.eigh` finds where the method has none.
    """
    by_eigenvectors: Tensor
    """`∂L/∂V` `(..., n, n)`, likewise."""


def differentiate(method: Method, M: Tensor, function: SpectralFunction, W: Tensor) -> Derivative:
    """Differentiate `⟨W, f(M)⟩` by `M` `(..., n, n)` through `method`.

    Through its eigenpairs, which are those of the same call, or through `matrix_function` if only
    functions of M have a gradient. Raises `NotApplicable` if the method cannot take `M`, and
    whatever the method raises.
    """
    reason = method.refusal(M) or method.function_refusal(function)
    if reason is not None:
        raise NotApplicable(reason)
    M = M.detach().requires_grad_()
    function = function.like(M)
    pairs = method.eigh(M) if method.decomposes else None
    if pairs is None or method.differentiates == "functions":
        composed = method.matrix_function(M, function)
    else:
        composed = reconstruct(pairs, function)
    (gradient,) = torch.autograd.grad((W * composed).sum(), M)
    found = None if pairs is None else Eigenpairs(*(part.detach() for part in pairs))
    reference = found or Eigenpairs(*torch.linalg.eigh(M.detach()))
    by_pairs = _by_pairs(reference, function, W)
    return Derivative(found, composed.detach(), gradient, *by_pairs)


def _by_pairs(pairs: Eigenpairs, function: SpectralFunction, W: Tensor) -> tuple[Tensor, ...]:
    """`∂L/∂λ` and `∂L/∂V` of `⟨W, V diag(f(λ)) Vᵀ⟩`, by the pairs as independent variables."""
    leaves = Eigenpairs(*(part.clone().requires_grad_() for part in pairs))
    loss = (W * reconstruct(leaves, function)).sum()
    # The loss of a projector does not depend on the eigenvalues.
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
