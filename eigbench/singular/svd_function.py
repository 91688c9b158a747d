"""Functions of singular values, `U f(Σ) Wᴴ`, with their exact gradient at any gap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.functional import matrix_function, named
from eigbench.methods.base import symmetric_part
from eigbench.methods.calling import call, conventions, recording
from eigbench.methods.differences import apart, together
from eigbench.methods.functions import SpectralFunction
from eigbench.methods.no_gradient import once_forward, stopped, unless
from eigbench.phases import phase
from eigbench.singular.inputs import matrices, without_autocast
from eigbench.singular.polar import polar

FULL_RANK = 1e-6
"""The least σ, as a share of the largest, with which there is a second derivative: what rounding
leaves of it is off by 2e-16 over the square of that share."""
_SINGULAR = (
    "svd_function has no second derivative here: a singular value is 0, or less than "
    f"{FULL_RANK:g} of the largest"
)
_COMPILED = "svd_function has no second derivative under torch.compile"


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
    not finite. In reverse and in forward mode.

    Further derivatives are those of `Q f(P)`, where `M = Q P` is the polar decomposition: exact
    with singular values that repeat. They raise `NotImplementedError` where one is zero or almost,
    of a function of which `matrix_function` has none, and under `torch.compile`.

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
    constant, cut = apart(function, values)
    composed: Tensor = call(_SVD_FUNCTION, M, values, U, W, minus, plus, cut, constant, of_values)
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
        M: Tensor,
        values: Tensor,
        U: Tensor,
        W: Tensor,
        minus: Tensor,
        plus: Tensor,
        cut: Tensor | None,
        function: SpectralFunction,
        of_values: Tensor,
    ) -> Tensor:
        with phase("products"):
            return (U * of_values.unsqueeze(-2)) @ W.mH

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *constants, ctx.function, _ = inputs
        ctx.save_for_backward(*constants)
        ctx.save_for_forward(*constants)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _derivative(ctx, gradients[0]), *[None] * 8

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map."""
        return _derivative(ctx, once_forward(tangents[0], ctx.saved_tensors[0]))


_SVD_FUNCTION = conventions(_SvdFunction)


def _derivative(ctx: Any, G: Tensor) -> Tensor:
    """`dF` of `dM = G`, which is also `∂L/∂M` of `∂L/∂F = G`."""
    M, values, U, W, minus, plus, cut = ctx.saved_tensors
    if not recording():
        return _by_tables(G, U, W, minus, plus)
    if torch.compiler.is_compiling():
        # A compiler takes no derivative of this one.
        return _by_tables(G, U, stopped(W, M, _COMPILED), minus, plus)
    M = unless(M, values, _almost_singular, _SINGULAR)
    found: Tensor = call(_SLOPE, M, U, W, minus, plus, cut, ctx.function, G)
    return found


def _by_tables(G: Tensor, U: Tensor, W: Tensor, minus: Tensor, plus: Tensor) -> Tensor:
    """`U (S∘F⁻ + K∘F⁺) Wᴴ + (I − UUᴴ) G W diag(f(σ)/σ) Wᴴ`, `UᴴGW = S + K`."""
    with phase("products"):
        right = G @ W
        A = U.mH @ right
        core = _weighed(minus, (A + A.mH) / 2) + _weighed(plus, (A - A.mH) / 2)
        inner = U @ core
        if U.shape[-2] > U.shape[-1]:
            outside = right - U @ A
            inner = inner + _weighed(plus.diagonal(dim1=-2, dim2=-1).unsqueeze(-2), outside)
        found: Tensor = inner @ W.mH
        return found


def _weighed(coefficients: Tensor, core: Tensor) -> Tensor:
    """The product, in which an infinite coefficient of nothing is nothing."""
    return torch.where(core == 0, 0, coefficients * core)


class _Slope(torch.autograd.Function):
    """The derivative of F along G, and its own derivatives by G and by M.

    F is the gradient of a function of M, so that its second derivative is symmetric in all of its
    three arguments: by M along dM it is the same as the gradient by M of `⟨dM, dF(M)[G]⟩`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - tensors that autograd must see
        M: Tensor,
        U: Tensor,
        W: Tensor,
        minus: Tensor,
        plus: Tensor,
        cut: Tensor | None,
        function: SpectralFunction,
        G: Tensor,
    ) -> Tensor:
        return _by_tables(G, U, W, minus, plus)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *constants, ctx.function, G = inputs
        ctx.save_for_backward(*constants, G)
        ctx.save_for_forward(*constants, G)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *_, G = ctx.saved_tensors
        by_M = _second(ctx, G, gradients[0]) if ctx.needs_input_grad[0] else None
        return by_M, *[None] * 6, _again(ctx, gradients[0])

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        """The sum of both."""
        M, *_, G = ctx.saved_tensors
        dM, dG = tangents[0], tangents[-1]
        found = _again(ctx, torch.zeros_like(G) if dG is None else once_forward(dG, M))
        return found if dM is None else found + _second(ctx, G, once_forward(dM, M))


_SLOPE = conventions(_Slope)


def _almost_singular(values: Tensor) -> Tensor:
    return (values[..., :1] <= FULL_RANK * values[..., -1:]).any(-1)


def _again(ctx: Any, G: Tensor) -> Tensor:
    """The derivative of F at the same M, along another G."""
    *constants, _ = ctx.saved_tensors
    found: Tensor = call(_SLOPE, *constants, ctx.function, G)
    return found


def _second(ctx: Any, G: Tensor, H: Tensor) -> Tensor:
    """The second derivative of F along G and H, by those of `Q f(P)`, where `M = Q P` is polar."""
    M, *_, cut, _ = ctx.saved_tensors
    function = together(ctx.function, None if cut is None else cut.double())

    def composed(M: Tensor) -> Tensor:
        whole = M.to(torch.complex128 if M.is_complex() else torch.float64)
        Q = polar(whole)
        return (Q @ matrix_function(symmetric_part(Q.mH @ whole), function)).to(M.dtype)

    def slope(M: Tensor) -> Tensor:
        along: Tensor = torch.func.vjp(composed, M)[1](G)[0]
        return along

    found: Tensor = torch.func.vjp(slope, M)[1](H)[0]
    return found
