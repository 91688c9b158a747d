"""Where there is no derivative: of eigenvectors, of what is saved, and a second time at ties."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.base import symmetric_part
from eigbench.methods.calling import call, composing, conventions, has_tangent
from eigbench.methods.coefficients import above_diagonal, gaps_above

COEFFICIENT_ERROR = 1e-3
"""By so much a coefficient may differ from 1/gap, relative to it, before a second derivative is
refused. The slope of a series by the gap is up to ten times further off than the series."""
GAP_ERROR = 1e-2
"""By so much rounding may change a gap: an eigenvalue is known to ε·max|λ|."""


class _NoGradient(torch.autograd.Function):
    """`X` as it is, but as a result of `M`; a derivative by `M` raises with `reason`."""

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

    tangent = backward


_NO_GRADIENT = conventions(_NoGradient)


def stopped(X: Tensor, M: Tensor, reason: str) -> Tensor:
    """`X` as a result of `M`; a derivative of it by `M` raises `NotImplementedError`."""
    result: Tensor = call(_NO_GRADIENT, X, M, reason)
    return result


class _OnceForward(torch.autograd.Function):
    """`X` as it is; a second forward mode by `M` raises, and reverse mode passes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X: Tensor, M: Tensor) -> Tensor:
        return X.clone()

    @staticmethod
    def setup_context(_ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None

    @staticmethod
    def tangent(_ctx: Any, *tangents: Tensor) -> Tensor:
        """None."""
        raise NotImplementedError(
            "there is no forward mode of forward mode: take forward over reverse mode, as "
            "torch.func.hessian does"
        )


_ONCE_FORWARD = conventions(_OnceForward)


def once_forward(X: Tensor, M: Tensor) -> Tensor:
    """`X`, a tangent at `M`: a forward mode of it, of which torch would make 0, raises."""
    result: Tensor = call(_ONCE_FORWARD, X, M) if composing() else X
    return result


def save(ctx: Any, M: Tensor, *outputs: Tensor) -> None:
    """Save outputs of `M` for both modes, so that `saved` finds them."""
    # Transforms alone can be nested. For the rest M need not be kept.
    kept = (M, *outputs) if composing() else outputs
    ctx.save_for_backward(*kept)
    ctx.save_for_forward(*kept)
    ctx.count = len(outputs)


def saved(ctx: Any, *, forward: bool = False) -> tuple[Tensor, ...]:
    """What `save` saved, which in a nested forward mode would not know that it depends on `M`."""
    kept = ctx.saved_tensors
    outputs: tuple[Tensor, ...] = kept[-ctx.count :]
    if forward and len(kept) > ctx.count:
        outputs = tuple(call(_ONCE_FORWARD, X, kept[0]) for X in outputs)
    return outputs


Wrong = Callable[[Tensor], Tensor]


class _Unless(torch.autograd.Function):
    """`X` as it is; a derivative that passes raises with `reason` if any of `wrong(Y)` is true."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X: Tensor, Y: Tensor, wrong: Wrong, reason: str) -> Tensor:
        return X.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Wrong, str], output: Tensor) -> None:
        _, Y, ctx.wrong, ctx.reason = inputs
        ctx.save_for_backward(Y)
        ctx.save_for_forward(Y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _passed(ctx, gradients[0]), None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same forwards."""
        return _passed(ctx, tangents[0])


def _passed(ctx: Any, derivative: Tensor) -> Tensor:
    (Y,) = ctx.saved_tensors
    wrong = ctx.wrong(Y.detach())
    try:
        refused = bool(wrong.any())
    except RuntimeError:  # `torch.func.vmap` over matrices hides their numbers
        wrong = wrong.reshape(*wrong.shape, *[1] * (derivative.dim() - wrong.dim()))
        return torch.where(wrong, torch.nan, derivative)
    if refused:
        raise NotImplementedError(ctx.reason)
    return derivative


_UNLESS = conventions(_Unless)


def unless(X: Tensor, Y: Tensor, wrong: Wrong, reason: str) -> Tensor:
    """`X`, whose derivative raises `NotImplementedError` if a matrix of its batch is wrong.

    `wrong(Y)` `(...)`, which is asked for when a derivative passes, holds booleans. Under
    `torch.func.vmap` over the matrices, where nobody can see the numbers, the derivative is NaN
    instead.
    """
    result: Tensor = call(_UNLESS, X, Y, wrong, reason)
    return result


PHASE_WARNED, PHASE_REFUSED = 0.5, 1e-2
"""From a gauge residual of ε^½ on a gradient of complex eigenvectors is warned of, and from 1e-2,
which is torch's tolerance, refused. Rounding leaves some ε."""


def without_phases(A: Tensor, *gradients: Tensor) -> Tensor:
    """`A = Vᴴ ∂L/∂V` `(..., n, n)` of complex V as it is, if the loss depends on no phases.

    `gradients` `(..., m, n)` are what A is made of, `∂L/∂V`. Raises `RuntimeError` where the loss
    does depend on them, and warns where more than rounding says that it may. Under
    `torch.func.vmap` and in compiled code nobody can see the numbers, and A is NaN instead.
    """
    if not A.numel():
        return A
    diagonal = A.detach().diagonal(dim1=-2, dim2=-1)
    residual = _residual(diagonal, *(one.detach() for one in gradients))
    try:
        worst = None if torch.compiler.is_compiling() else float(residual.max())
    except RuntimeError:
        worst = None
    if worst is None:
        return torch.where(residual[..., None, None] > PHASE_REFUSED, torch.nan, A)
    _judge_phases(worst, residual.dtype)
    return A


def _residual(diagonal: Tensor, *gradients: Tensor) -> Tensor:
    """`(...)`: the largest |Im A[i,i]|, divided by the norm of the gradients."""
    # Of their real and imaginary parts, since magnitudes of complex numbers take long.
    parts = [torch.view_as_real(one.resolve_conj()) for one in gradients]
    norm: Any = sum(torch.linalg.vector_norm(one, dim=(-3, -2, -1)) for one in parts)
    largest: Tensor = torch.linalg.vector_norm(diagonal.imag, math.inf, dim=-1)
    # A gradient of zero depends on nothing.
    residual: Tensor = largest / norm.clamp(min=torch.finfo(largest.dtype).tiny)
    return residual


def _judge_phases(worst: float, dtype: torch.dtype) -> None:
    said = (
        f"the gauge residual, the largest |Im A[i,i]|/‖∂L/∂V‖ with A = Vᴴ ∂L/∂V, is {worst:.1e}. "
        "Make the loss of |v|², of v vᴴ or of a function of M, which depend on none"
    )
    if worst > PHASE_REFUSED:
        raise RuntimeError(
            "the loss depends on the phases of complex vectors, which are arbitrary, so it has no "
            f"gradient: {said}"
        )
    if worst > torch.finfo(dtype).eps ** PHASE_WARNED:
        warnings.warn(f"the loss may depend on the phases of complex vectors: {said}", stacklevel=2)


def phases_watched(V: Tensor) -> Tensor:
    """Complex eigenvectors `V` that autograd follows by itself; the first gradient is looked at.

    Those of a second derivative are only a part of it, and may depend on phases.
    """
    if V.is_complex() and V.numel() and V.requires_grad and not composing():
        unseen = [V.detach()]

        def hook(by_V: Tensor | None) -> None:  # None where the loss is of the eigenvalues alone
            if unseen and by_V is not None:
                diagonal = torch.linalg.vecdot(unseen.pop(), by_V.detach(), dim=-2)
                residual = _residual(diagonal, by_V.detach())
                _judge_phases(float(residual.max()), residual.dtype)

        V.register_hook(hook)  # type: ignore[no-untyped-call]
    return V


def too_close(name: str) -> str:
    """Why a method has no second derivative of some matrix."""
    return (
        f"{name} has no second derivative here: some coefficient of its gradient is not 1/gap, as "
        "where eigenvalues are equal or close, and a second derivative would be wrong. 'eigh' has "
        "one where all gaps are open; M^(1/2) and M^(-1/2) have one at any gap by "
        "method='newton-schulz', steps=30"
    )


def unresolved(eigenvalues: Tensor) -> Tensor:
    """`(...)`: whether rounding changes a gap of sorted eigenvalues `(..., n)` by `GAP_ERROR`."""
    return ~(eigenvalues.diff() * GAP_ERROR >= _roundings(eigenvalues)).all(-1)


@torch.no_grad()
def differs_from_analytic(eigenvalues: Tensor, minus: Tensor, surplus: Tensor | None) -> Tensor:
    """`(...)`: whether tables of `½c⁻` and `½(c⁺ − c⁻)` are not those of 1/gap, to rounding."""
    gap = gaps_above(eigenvalues)
    differs = ~((2 * minus * gap - 1).abs() <= COEFFICIENT_ERROR)
    if surplus is not None:
        differs |= ~((2 * surplus * gap).abs() <= COEFFICIENT_ERROR)
    mask = above_diagonal(gap, torch.bool)
    return unresolved(eigenvalues) | (differs & mask).any(-1).any(-1)


def _roundings(eigenvalues: Tensor) -> Tensor:
    """`ε·max|λ|` `(..., 1)`, of sorted eigenvalues."""
    ends = torch.maximum(eigenvalues[..., :1].abs(), eigenvalues[..., -1:].abs())
    return torch.finfo(eigenvalues.dtype).eps * ends


class _Watched(_Unless):
    """`S` as it is; a derivative of its gradient raises where `wrong` is true of `M`."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (M,) = ctx.saved_tensors
        return unless(gradients[0], M, ctx.wrong, ctx.reason), None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same forwards."""
        (M,) = ctx.saved_tensors
        return unless(tangents[0], M, ctx.wrong, ctx.reason)


_WATCHED = conventions(_Watched)


def watched(name: str, M: Tensor, wrong_values: Wrong = unresolved) -> Tensor:
    """`symmetric_part(M)` for what autograd follows by itself.

    A second derivative through it raises `NotImplementedError` where `wrong_values` `(...)` is true
    of the ascending eigenvalues of `M`. A compiler, which gives none, is left alone.
    """
    S = symmetric_part(M)
    if torch.compiler.is_compiling():
        return S
    if composing():
        wrong = partial(_wrong_of, wrong_values)
        result: Tensor = call(_WATCHED, S, M, wrong, too_close(name))
        return result
    watch(name, S.grad_fn, M, wrong_values)
    return S


def watch(name: str, node: Any, M: Tensor, wrong_values: Wrong = unresolved) -> None:
    """The same of what one node of a graph does, which made something of `M`; None is none."""

    def hook(gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...] | None:
        # The first gradient requires one itself, or has a tangent, where a second is asked for.
        by_node = gradients[0]
        if by_node is None or not (by_node.requires_grad or has_tangent(by_node)):
            return None
        wrong = partial(_wrong_of, wrong_values)
        return unless(by_node, M.detach(), wrong, too_close(name)), *gradients[1:]

    if node is not None:
        node.register_hook(hook)


def _wrong_of(wrong_values: Wrong, M: Tensor) -> Tensor:
    return wrong_values(torch.linalg.eigvalsh(M))
