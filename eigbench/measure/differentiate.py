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
    """A method's eigenpairs for `(..., n, n)`, the loss's gradients, all detached."""

    pairs: Eigenpairs
    gradient: Tensor
    """`∂L/∂M` `(..., n, n)`."""
    by_eigenvalues: Tensor
    """`∂L/∂λ` `(..., n)`: of the loss by the pairs alone, whatever the method."""
    by_eigenvectors: Tensor
    """`∂L/∂V` `(..., n, n)`, likewise."""


def differentiate(method: Method, M: Tensor, function: SpectralFunction, W: Tensor) -> Derivative:
    """Differentiate `⟨W, f(M)⟩` by `M` `(..., n, n)` through `method`.

    Through its eigenpairs, which are those of the same call, or through `matrix_function` if only
    functions of M have a gradient. Raises `NotApplicable` if the method cannot take `M`, and
    whatever the method raises.
    """
    reason = method.refusal(M)
    if reason is not None:
        raise NotApplicable(reason)
    M = M.detach().requires_grad_()
    function = function.like(M)
    pairs = method.eigh(M)
    if method.differentiates == "functions":
        composed = method.matrix_function(M, function)
    else:
        composed = reconstruct(pairs, function)
    (gradient,) = torch.autograd.grad((W * composed).sum(), M)
    detached = Eigenpairs(pairs.eigenvalues.detach(), pairs.eigenvectors.detach())
    return Derivative(detached, gradient, *_by_pairs(detached, function, W))


def _by_pairs(pairs: Eigenpairs, function: SpectralFunction, W: Tensor) -> tuple[Tensor, ...]:
    """`∂L/∂λ` and `∂L/∂V` of `⟨W, V diag(f(λ)) Vᵀ⟩`, by the pairs as independent variables."""
    leaves = Eigenpairs(*(part.clone().requires_grad_() for part in pairs))
    loss = (W * reconstruct(leaves, function)).sum()
    # The loss of a projector does not depend on the eigenvalues.
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
