"""The exact gradient of a function of M at any gap, which the eigenvectors do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, Promise, symmetric_part
from eigbench.methods.calling import composing, eager_twin
from eigbench.methods.functions import SpectralFunction
from eigbench.methods.no_gradient import eigenvalues_alone, stopped
from eigbench.phases import phase

_NOT_TWICE = (
    "spectral has no second derivative: differentiate once, or choose another method, "
    "as in eigbench.matrix_function(M, function, method='eigh')"
)


class _MatrixFunction(torch.autograd.Function):
    """`V diag(f(λ)) Vᵀ` forward, `V (F ∘ VᵀWV) Vᵀ` backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, values: Tensor, V: Tensor, F: Tensor) -> Tensor:
        with phase("products"):
            return (V * values[..., None, :]) @ V.mT

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor
    ) -> None:
        M, _, V, F = inputs
        ctx.save_for_backward(M, V, F)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        M, V, F = ctx.saved_tensors
        with phase("products"):
            core = F * symmetric_part(V.mT @ gradients[0] @ V)
            found = V @ core @ V.mT
        if torch.is_grad_enabled():
            # V and F depend on M without a record of it: a second derivative would be wrong.
            found = stopped(found, M, _NOT_TWICE)
        return found, None, None, None


_EagerMatrixFunction = eager_twin(_MatrixFunction)


@dataclass(frozen=True)
class Spectral(Method):
    """`f(M)` from `torch.linalg.eigh`, differentiated by the theorem of Daleckii and Krein.

    With `W = ∂L/∂f(M)` the gradient is `V (F ∘ VᵀWV) Vᵀ`, where `F[i,j]` is the divided
    difference of f between λi and λj. It is exact at any gap, zero included, wherever f itself is
    differentiable: no series, no cut, no tolerance. Eigenvectors of a tie have no derivative, and
    asking for one raises; eigenvalues have theirs, `V diag(∂L/∂λ) Vᵀ`, exact where λ is simple.
    Second derivatives of `f(M)` raise.
    """

    name: ClassVar[str] = "spectral"
    summary: ClassVar[str] = "eigh forward; exact gradient of functions of M, at any gap"
    source: ClassVar[str] = "Daleckii and Krein, 1965; Higham, Functions of Matrices, 2008, Ch. 3"
    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "functions"
    # This gradient needs no protection, and a cut inside a tie would have no derivative.
    truncation: ClassVar[str] = "none"
    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"functions", "scale", "continuous", "isolated", "subspace"}
    )

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient."""
        return eigenvalues_alone(self.name, M)

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M)` `(..., n, n)` of symmetric `M`; the constants of `function` get no gradient."""
        with phase("decomposition"):
            eigenvalues, V = torch.linalg.eigh(M.detach())
        with phase("coefficients"):
            values = function.values(eigenvalues)
            F = function.divided_differences(eigenvalues)
        call = _MatrixFunction if composing() else _EagerMatrixFunction
        composed: Tensor = call.apply(M, values, V, F)
        return composed
