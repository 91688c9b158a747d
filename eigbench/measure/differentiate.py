"""One forward and backward pass of any method, with everything a measurement needs of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import Eigenpairs, Method, reconstruct
from eigbench.methods.functions import Projector, SpectralFunction


@dataclass(frozen=True)
class Derivative:
    """A method's eigenpairs for `(batch, n, n)`, the loss's gradients, all detached."""

    pairs: Eigenpairs
    gradient: Tensor
    """`∂L/∂M` `(batch, n, n)`."""
    by_eigenvalues: Tensor
    """`∂L/∂λ` `(batch, n)`."""
    by_eigenvectors: Tensor
    """`∂L/∂V` `(batch, n, n)`."""


def differentiate(method: Method, M: Tensor, function: SpectralFunction, W: Tensor) -> Derivative:
    """Differentiate `⟨W, f(M)⟩` by `M` `(batch, n, n)` through `method`'s eigenpairs.

    Raises `NotApplicable` if the method cannot take `M`, and whatever the method raises.
    """
    reason = method.refusal(M)
    if reason is not None:
        raise NotApplicable(reason)
    M = M.detach().requires_grad_()
    pairs = method.eigh(M)
    loss = (W * reconstruct(pairs, function)).sum()
    # allow_unused: the loss of a projector does not depend on the eigenvalues.
    gradient, by_values, by_vectors = torch.autograd.grad(
        loss, [M, pairs.eigenvalues, pairs.eigenvectors], allow_unused=True, materialize_grads=True
    )
    detached = Eigenpairs(pairs.eigenvalues.detach(), pairs.eigenvectors.detach())
    return Derivative(detached, gradient, by_values, by_vectors)


def on_device(function: SpectralFunction, M: Tensor) -> SpectralFunction:
    """The same function with its constants in the dtype and on the device of `M`."""
    if isinstance(function, Projector):
        return replace(function, chosen=torch.as_tensor(function.chosen).to(M))
    return function
