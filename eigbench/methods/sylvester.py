"""The equation S X + X S = W of a Hermitian S, with derivatives of any order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.methods.base import symmetric_part
from eigbench.methods.calling import call, conventions
from eigbench.methods.no_gradient import once_forward


class _Sylvester(torch.autograd.Function):
    """X forward; the backward pass and forward mode are equations with the same S.

    With Z the solution for `∂L/∂X` in place of W, `∂L/∂W = Z` and `∂L/∂S = −(Z Xᴴ + Xᴴ Z)`; and
    dX is the solution for `dW − dS X − X dS`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(S: Tensor, W: Tensor, V: Tensor, values: Tensor, sign: int) -> Tensor:
        core = V.mH @ W @ V
        core = (core + sign * core.mH) / 2
        sums = values.unsqueeze(-1) + values.unsqueeze(-2)
        # What is not there takes no part, however small the sum is.
        return V @ torch.where(core == 0, 0, core / sums) @ V.mH

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.sign = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        S, W, V, values = ctx.saved_tensors
        Z = solve(S, gradients[0], V, values, ctx.sign)
        by_S = None
        if ctx.needs_input_grad[0]:
            X = solve(S, W, V, values, ctx.sign)
            by_S = -symmetric_part(Z @ X.mH + X.mH @ Z)
        return by_S, Z, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        """The solution for `dW − dS X − X dS`."""
        S, W, V, values = ctx.saved_tensors
        dS, dW = tangents[:2]
        right = torch.zeros_like(W) if dW is None else once_forward(dW, S)
        if dS is not None:
            X = solve(S, W, V, values, ctx.sign)
            dS = symmetric_part(once_forward(dS, S))
            right = right - dS @ X - X @ dS
        return solve(S, right, V, values, ctx.sign)


_SYLVESTER = conventions(_Sylvester)


def solve(S: Tensor, W: Tensor, V: Tensor, values: Tensor, sign: int) -> Tensor:
    """`X` `(..., n, n)` with `S X + X S = (W + sign·Wᴴ)/2`, differentiable by `S` and `W`.

    `S = V diag(values) Vᴴ` is Hermitian; its eigenpairs are given as constants. X is Hermitian for
    a `sign` of 1, and skew for −1. It depends on sums of two eigenvalues alone, so ties do no
    harm, in derivatives of no order. It is infinite where a sum that takes part is 0; a diagonal
    that is 0, as that of a real skew matrix, takes no part.
    """
    solution: Tensor = call(_SYLVESTER, S, W, V, values, sign)
    return solution
