"""Functions of singular values, `U f(Σ) Wᴴ`, with their exact gradient at any gap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.functional import named
from eigbench.methods.calling import call, conventions
from eigbench.methods.functions import SpectralFunction
from eigbench.methods.no_gradient import once_forward, stopped
from eigbench.phases import phase
from eigbench.singular.inputs import matrices, without_autocast

_NOT_TWICE = (
    "svd_function has no second derivative: differentiate once; eigbench.polar has any derivative"
)


def svd_function(M: Tensor, function: SpectralFunction | str) -> Tensor:
    """`U f(Σ) Wᴴ` of `M = U Σ Wᴴ`, differentiated by divided differences.

    `(..., m, n)` for real or complex `M` `(..., m, n)` on any device. `function` is what
    `eigbench.matrix_function` takes, as a function of the singular values `(..., min(m, n))`,
    ascending: `Smooth(f, derivative)` is any f, such as a threshold, and
    `Truncated(Identity(), kept)` is M with some of its singular values set to 0.

    It is the function `[[0, F], [Fᴴ, 0]]` of `[[0, M], [Mᴴ, 0]]`, whose eigenvalues are ±σ, with f
    continued by `f(−σ) = −f(σ)`. So the gradient is exact with singular values that repeat, and
    with those that are zero where f(0) = 0. With another f(0), F itself is not unique where two
    singular values are zero, or one of a matrix that is not square and real, and the gradient is
    not finite. In reverse and in forward mode; a second derivative raises `NotImplementedError`.

    float32, float64, complex64 and complex128 come out as they go in; float16 and bfloat16 are
    converted to float32, which comes out; autocast is off inside. Raises `ValueError` for what is
    no matrix or for an unknown function, and `TypeError` for another dtype.
    """
    M, function = matrices(M), named(function)
    with without_autocast(M):
        if M.shape[-2] < M.shape[-1]:
            return _tall(M.mH, function).mH
        return _tall(M, function)


def _tall(M: Tensor, function: SpectralFunction) -> Tensor:
    function = function.like(M)
    with phase("decomposition"):
        U, values, Wh = torch.linalg.svd(M.detach(), full_matrices=False)
        U, values, W = U.flip(-1), values.flip(-1), Wh.mH.flip(-1)
    with phase("coefficients"):
        of_values = function.values(values)
        minus = function.divided_differences(values)
        plus = _across_zero(values, of_values, minus)
    composed: Tensor = call(_SVD_FUNCTION, M, U, W, of_values, minus, plus)
    return composed


def _across_zero(values: Tensor, of_values: Tensor, minus: Tensor) -> Tensor:
    """`(f(σi) + f(σj))/(σi + σj)`, the divided difference between σi and −σj: `(..., n, n)`."""
    rise = of_values.unsqueeze(-1) + of_values.unsqueeze(-2)
    sums = values.unsqueeze(-1) + values.unsqueeze(-2)
    # Between two zeros it is the derivative there, if f is 0 there.
    return torch.where((sums == 0) & (rise == 0), minus, rise / sums)


class _SvdFunction(torch.autograd.Function):
    """`U f(Σ) Wᴴ` forward. The derivative by M is its own transpose, so it is both modes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - tensors that autograd must see
        M: Tensor, U: Tensor, W: Tensor, of_values: Tensor, minus: Tensor, plus: Tensor
    ) -> Tensor:
        with phase("products"):
            return (U * of_values.unsqueeze(-2)) @ W.mH

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        M, U, W, _, minus, plus = inputs
        ctx.save_for_backward(M, U, W, minus, plus)
        ctx.save_for_forward(M, U, W, minus, plus)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _derivative(ctx, gradients[0]), None, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map."""
        return _derivative(ctx, once_forward(tangents[0], ctx.saved_tensors[0]))


_SVD_FUNCTION = conventions(_SvdFunction)


def _derivative(ctx: Any, G: Tensor) -> Tensor:
    """`U (S∘F⁻ + K∘F⁺) Wᴴ + (I − UUᴴ) G W diag(f(σ)/σ) Wᴴ`, `UᴴGW = S + K`."""
    M, U, W, minus, plus = ctx.saved_tensors
    if torch.is_grad_enabled():
        # U, W and the tables depend on M without a record of it.
        W = stopped(W, M, _NOT_TWICE)
    with phase("products"):
        right = G @ W
        A = U.mH @ right
        core = _weighed(minus, (A + A.mH) / 2) + _weighed(plus, (A - A.mH) / 2)
        inner = U @ core
        if M.shape[-2] > M.shape[-1]:
            outside = right - U @ A
            inner = inner + _weighed(plus.diagonal(dim1=-2, dim2=-1).unsqueeze(-2), outside)
        found: Tensor = inner @ W.mH
        return found


def _weighed(coefficients: Tensor, core: Tensor) -> Tensor:
    """The product, in which an infinite coefficient of nothing is nothing."""
    return torch.where(core == 0, 0, coefficients * core)
