"""The analytic gradient of eigenpairs, as torch has it, of a batch too that threads share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.methods import gpu
from eigbench.methods.base import Eigenpairs, product, real_diagonal, symmetric_part
from eigbench.methods.calling import call, composing, conventions, recording
from eigbench.methods.coefficients import choose_arithmetic, with_diagonal
from eigbench.methods.decomposition import Decomposition
from eigbench.methods.no_gradient import (
    phases_watched,
    stopped,
    too_close,
    unless,
    unresolved,
    watch,
    watched,
    without_phases,
)
from eigbench.methods.threads import parts_of
from eigbench.phases import phase


class _Analytic(Decomposition):
    """`V Ĝ Vᴴ` with `∂L/∂λ` on the diagonal of Ĝ and `½(A − Aᴴ)/gap` off it, `A = Vᴴ ∂L/∂V`.

    In the order of torch's own formula, so that it rounds alike.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Any) -> None:
        ctx.name = inputs[1]
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)
        # Where the eigenvectors have none, ties do no harm: 0 times 1/gap would be NaN.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None]:
        by_eigenvalues, by_eigenvectors = gradients
        if by_eigenvalues is None and by_eigenvectors is None:
            return None, None
        eigenvalues, V = ctx.saved_tensors
        recorded = recording()
        if recorded:
            V = unless(V, eigenvalues, unresolved, too_close(ctx.name))
        if by_eigenvectors is None:
            with phase("products"):
                return product(V * by_eigenvalues.unsqueeze(-2), V.mH), None
        with phase("products"):
            A = product(V.mH, by_eigenvectors)
            if A.is_complex():
                A = without_phases(A, by_eigenvectors)
        with phase("coefficients"):
            gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
            if recorded:  # else the diagonal may be 0/0 until it is overwritten
                gap = with_diagonal(gap, torch.ones_like(eigenvalues))
            core = choose_arithmetic().mul(A - A.mH, 0.5)
            core = core / gap if recorded else core.div_(gap)
            if by_eigenvalues is None:
                by_eigenvalues = torch.zeros_like(eigenvalues)
            core = with_diagonal(core, by_eigenvalues)
        with phase("products"):
            return product(V, product(core, V.mH)), None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor]:
        """`dλ` and `dV` of `dM`."""
        eigenvalues, V = ctx.saved_tensors
        S = V.mH @ symmetric_part(tangents[0]) @ V
        gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
        ones, zeros = torch.ones_like(eigenvalues), torch.zeros_like(eigenvalues)
        turn = with_diagonal(S / with_diagonal(gap, ones), zeros)
        return real_diagonal(S), V @ turn


_ANALYTIC = conventions(_Analytic)


def analytic_eigh(name: str, M: Tensor) -> Eigenpairs:
    """Decompose symmetric `M` `(..., n, n)`, with torch's gradient.

    A second derivative raises at a tie, and the message speaks for the method called `name`.
    """
    # In this order: a question about the size would fix that of an exported program.
    if not composing() and (gpu.takes(M) if M.is_cuda else parts_of(M) > 1):
        return Eigenpairs(*call(_ANALYTIC, M, name))
    # Torch's own node is faster by a tenth for a single matrix, and can be nested.
    with phase("decomposition"):
        if composing():
            # torch's own does not look at phases here.
            if M.is_complex():
                return Eigenpairs(*call(_ANALYTIC, M, name))
            return Eigenpairs(*torch.linalg.eigh(watched(name, M)))
        eigenvalues, V = torch.linalg.eigh(M)
        watch(name, eigenvalues.grad_fn, M)
    return Eigenpairs(eigenvalues, phases_watched(V))


def eigenvalues_alone(name: str, M: Tensor) -> Eigenpairs:
    """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient.

    It is `V diag(∂L/∂λ) Vᵀ`, exact where λ is simple. One of the eigenvectors raises, and the
    message speaks for the method called `name`.
    """
    eigenvalues, V = analytic_eigh(name, M)
    reason = (
        f"{name} has the gradient of functions of M, not of its eigenvectors: "
        "call eigbench.matrix_function, or choose another method"
    )
    return Eigenpairs(eigenvalues, stopped(V.detach(), M, reason))
