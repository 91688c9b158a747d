"""The one backward pass that all methods with an analytic-like gradient share.

With `A = Vᵀ ∂L/∂V` and `g = ∂L/∂λ`, in the ascending order used here, every such rule reads

    ∂L/∂M = V Ĝ Vᵀ,   Ĝ symmetric,   Ĝ[i,i] = g[i],
    Ĝ[a,b] = ½ ( c⁺[a,b]·A[a,b] − c⁻[a,b]·A[b,a] )                        for a < b
           = ½ ( c⁻[a,b]·(A[a,b] − A[b,a]) + (c⁺ − c⁻)[a,b]·A[a,b] ),

and the rules differ in nothing but the two coefficient tables. The analytic rule (Eq. 1) has
`c⁺ = c⁻ = 1/(λb − λa)`. Only the antisymmetric part of A matters to it, as it must for a loss
that does not depend on the basis of an eigenspace; the second term is what a rule with
`c⁺ ≠ c⁻` adds.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs
from eigbench.methods.calling import composing, eager_twin
from eigbench.methods.coefficients import choose_arithmetic
from eigbench.phases import phase


class CoefficientRule(Protocol):
    """What a method must supply: its coefficient tables."""

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, Tensor | None]:
        """`½c⁻` and `½(c⁺ − c⁻)`, each `(..., n, n)`, for ascending eigenvalues `(..., n)`.

        The second is None of a rule with `c⁺ = c⁻`. Only what stands above the diagonal counts,
        but everything must be finite.
        """
        ...


class Decomposition(torch.autograd.Function):
    """A decomposition forward, a rule's own gradient backward, under `torch.func` and compile."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, rule: object) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of symmetric `M` `(..., n, n)`."""
        with phase("decomposition"):
            eigenvalues, eigenvectors = torch.linalg.eigh(M)
        return eigenvalues, eigenvectors


class _PairwiseEigh(Decomposition):
    """The gradient that a table of coefficients gives."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, CoefficientRule], output: Any) -> None:
        ctx.rule = inputs[1]
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Plain differentiable operations on the saved outputs: this is what makes a second
        # derivative, vmap and torch.compile work without a rule of their own.
        by_eigenvalues, by_eigenvectors = gradients
        eigenvalues, V = ctx.saved_tensors
        with phase("products"):
            A = V.mT @ by_eigenvectors
        with phase("coefficients"):
            minus, surplus = ctx.rule.half_coefficients(eigenvalues)
            mul, _, addcmul = choose_arithmetic()
            # What is overwritten is a part of A: where cotangents are batched, the tables are not.
            weighted = mul(A - A.mT, minus)
            if surplus is not None:
                weighted = addcmul(weighted, surplus, A)
            upper = weighted.triu()
            # Not in place: the cotangents of eigenvalues may be batched alone.
            core = torch.diagonal_scatter(upper + upper.mT, by_eigenvalues, dim1=-2, dim2=-1)
        with phase("products"):
            return V @ core @ V.mT, None


_EagerPairwiseEigh = eager_twin(_PairwiseEigh)


def pairwise_eigh(M: Tensor, rule: CoefficientRule) -> Eigenpairs:
    """Decompose symmetric `M` `(..., n, n)`, with the gradient that `rule`'s table gives."""
    function = _PairwiseEigh if composing() else _EagerPairwiseEigh
    return Eigenpairs(*function.apply(M, rule))
