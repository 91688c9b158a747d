"""The one backward pass that all methods with an analytic-like gradient share.

With `A = Vᴴ ∂L/∂V` and `g = ∂L/∂λ`, in the ascending order used here, every such rule reads

    ∂L/∂M = V Ĝ Vᴴ,   Ĝ Hermitian,   Ĝ[i,i] = g[i],
    Ĝ[a,b] = ½ ( c⁺[a,b]·A[a,b] − c⁻[a,b]·A[b,a]* )                       for a < b
           = ½ ( c⁻[a,b]·(A[a,b] − A[b,a]*) + (c⁺ − c⁻)[a,b]·A[a,b] ),

and the rules differ in nothing but the two coefficient tables, which are real. The analytic rule
(Eq. 1) has `c⁺ = c⁻ = 1/(λb − λa)`. Only the skew part of A matters to it, as it must for a loss
that does not depend on the basis of an eigenspace; the second term is what a rule with
`c⁺ ≠ c⁻` adds. Of complex M the gradient is that of torch, `dL = Re⟨∂L/∂M, dM⟩`; a loss that
depends on the phases of the eigenvectors, by Im A[i,i], has none. Forward mode is the transposed
map: with `S = Vᴴ dM V`, dM Hermitian,

    dλ[i] = S[i,i],   dV = V X,   X[a,b] = c⁺[a,b]·S[a,b],   X[b,a] = −c⁻[a,b]·S[a,b]*   for a < b.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, product, real_diagonal, symmetric_part
from eigbench.methods.calling import call, composing, conventions, is_number, recording
from eigbench.methods.coefficients import above_diagonal, choose_arithmetic, with_diagonal
from eigbench.methods.decomposition import Decomposition
from eigbench.methods.no_gradient import (
    differs_from_analytic,
    save,
    saved,
    stopped,
    too_close,
    unless,
    without_phases,
)
from eigbench.phases import phase


class CoefficientRule(Protocol):
    """What a method must supply: its coefficient tables, and what its refusals say."""

    name: ClassVar[str]
    once: ClassVar[str | None]

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, Tensor | None]:
        """`½c⁻` and `½(c⁺ − c⁻)`, each `(..., n, n)`, for ascending eigenvalues `(..., n)`.

        The second is None of a rule with `c⁺ = c⁻`. Only what stands above the diagonal counts,
        but everything must be finite.
        """
        ...


class _PairwiseEigh(Decomposition):
    """The gradient that a table of coefficients gives."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, CoefficientRule], output: Any) -> None:
        ctx.rule = inputs[1]
        save(ctx, inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Plain differentiable operations on the saved outputs: this is what makes a second
        # derivative, vmap and torch.compile work without a rule of their own.
        by_eigenvalues, by_eigenvectors = gradients
        real = not by_eigenvectors.is_complex()
        if real and by_eigenvectors.is_cuda and not (recording() or composing()):
            found = _in_one_kernel(ctx, *gradients)
            if found is not None:
                return found, None
        with phase("coefficients"):
            V, minus, surplus = tables(ctx.rule, *saved(ctx))
        VH = V.mH
        with phase("products"):
            A = product(VH, by_eigenvectors)
            if not real:
                A = without_phases(A, by_eigenvectors)
        with phase("coefficients"):
            mul, addcmul, *_ = choose_arithmetic()
            # What is overwritten is a part of A: where cotangents are batched, the tables are not.
            weighted = mul(A - A.mH, minus)
            if surplus is not None:
                weighted = addcmul(weighted, surplus.to(A.dtype), A)
            upper = mul(weighted, above_diagonal(A, minus.dtype))
            core = with_diagonal(upper + upper.mH, by_eigenvalues)
        with phase("products"):
            return product(product(V, core), VH), None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor]:
        """`dλ` and `dV` of `dM`."""
        V, minus, surplus = tables(ctx.rule, *saved(ctx, forward=True))
        S = V.mH @ symmetric_part(tangents[0]) @ V
        lower = 2 * minus * S
        upper = lower if surplus is None else lower + 2 * surplus * S
        mask = above_diagonal(S, minus.dtype)
        turned = V @ (upper * mask - (lower * mask).mH)
        return real_diagonal(S), turned


def _in_one_kernel(ctx: Any, by_eigenvalues: Tensor, by_eigenvectors: Tensor) -> Tensor | None:
    """The gradient by the rule's own kernel, if it has one for where the tensors are."""
    fused = getattr(ctx.rule, "fused_gradient", None)
    if fused is None or not (is_number(by_eigenvalues) and is_number(by_eigenvectors)):
        return None
    with phase("coefficients"):
        found: Tensor | None = fused(*saved(ctx), by_eigenvalues, by_eigenvectors)
    return found


def tables(
    rule: CoefficientRule, values: Tensor, V: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The vectors `V`, which refuse a second derivative that would be wrong, and the two tables.

    `values` `(..., n)` are ascending, eigenvalues or singular values, and V has vectors of theirs.
    """
    minus, surplus = rule.half_coefficients(values)
    if recording():
        # A second derivative goes by the same rule through V, and through the tables. What is
        # not the analytic rule is not the derivative of V, and there it would be wrong.
        if rule.once is not None:
            V = stopped(V, values, rule.once)
        else:
            wrong = differs_from_analytic(values, minus, surplus)
            V = unless(V, wrong, torch.Tensor.bool, too_close(rule.name))
    return V, minus, surplus


_PAIRWISE_EIGH = conventions(_PairwiseEigh)


def pairwise_eigh(M: Tensor, rule: CoefficientRule) -> Eigenpairs:
    """Decompose symmetric `M` `(..., n, n)`, with the gradient that `rule`'s table gives."""
    return Eigenpairs(*call(_PAIRWISE_EIGH, M, rule))
