"""The exact gradient of a function of M at any gap, which the eigenvectors do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from eigbench.methods.analytic import eigenvalues_alone
from eigbench.methods.base import Eigenpairs, Method, Promise, product
from eigbench.methods.calling import call, conventions
from eigbench.methods.coefficients import choose_arithmetic
from eigbench.methods.decomposition import decompose
from eigbench.methods.functions import SpectralFunction
from eigbench.methods.no_gradient import stopped
from eigbench.phases import phase

_NOT_TWICE = (
    "spectral has no second derivative: differentiate once, or choose another method, as in "
    "eigbench.matrix_function(M, function, method='eigh') where all gaps are open, or "
    "method='newton-schulz', steps=30 for M^(1/2) and M^(-1/2) at any gap"
)


class _MatrixFunction(torch.autograd.Function):
    """`V diag(f(λ)) Vᴴ` forward, `V (F ∘ VᴴWV) Vᴴ` both as backward and as forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, values: Tensor, V: Tensor, F: Tensor, unbounded: bool) -> Tensor:  # noqa: FBT001
        with phase("products"):
            return product(V * values.unsqueeze(-2), V.mH)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        M, _, V, F, ctx.unbounded = inputs
        ctx.save_for_backward(M, V, F)
        ctx.save_for_forward(M, V, F)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _derivative(ctx, gradients[0]), None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map: it is its own transpose."""
        return _derivative(ctx, tangents[0])


def _derivative(ctx: Any, W: Tensor) -> Tensor:
    """`∂L/∂M` of `∂L/∂f(M)`, and `df(M)` of `dM`."""
    M, V, F = ctx.saved_tensors
    if torch.is_grad_enabled():
        # V and F depend on M without a record of it: a second derivative would be wrong.
        V = stopped(V, M, _NOT_TWICE)
    with phase("products"):
        VH = V.mH
        core = product(product(VH, W), V)
        mul = choose_arithmetic().mul
        # In place it is a part of W, which may be batched where the tables are not.
        core = mul(core + core.mH, 0.5)
        if not ctx.unbounded:
            return product(product(V, mul(core, F)), VH)
        # An infinite coefficient is infinite in what it reaches; times 0 it would be NaN in all.
        infinite = F.isinf()
        found = V @ (torch.where(infinite, 0, F) * core) @ VH
        reached = V @ (torch.where(infinite, F.sign(), 0) * core) @ VH
        return torch.where(reached != 0, reached * torch.inf, found)


_MATRIX_FUNCTION = conventions(_MatrixFunction)


@dataclass(frozen=True)
class Spectral(Method):
    """`f(M)` from `torch.linalg.eigh`, differentiated by the theorem of Daleckii and Krein.

    With `W = ∂L/∂f(M)` the gradient is `V (F ∘ VᵀWV) Vᵀ`, where `F[i,j]` is the divided
    difference of f between λi and λj. It is exact at any gap, zero included, wherever f itself is
    differentiable: no series, no cut, no tolerance. Eigenvectors of a tie have no derivative, and
    asking for one raises; eigenvalues have theirs, `V diag(∂L/∂λ) Vᵀ`, exact where λ is simple.
    Second derivatives of `f(M)` raise. Through `eigbench.matrix_function` M may be complex
    Hermitian: the coefficients are the same, and real.
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
    function_dtypes: ClassVar[frozenset[torch.dtype]] = frozenset(
        {torch.complex64, torch.complex128}
    )

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient."""
        return eigenvalues_alone(self.name, M)

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M)` `(..., n, n)` of Hermitian `M`; the constants of `function` get no gradient."""
        with phase("decomposition"):
            eigenvalues, V = decompose(M.detach())
        with phase("coefficients"):
            values = function.values(eigenvalues)
            F = function.divided_differences(eigenvalues)
        composed: Tensor = call(_MATRIX_FUNCTION, M, values, V, F, function.unbounded)
        return composed
