"""The polar factor: nearest orthonormal matrices and rotations, of which ties are no trouble."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.errors import InputError
from eigbench.methods.base import symmetric_part
from eigbench.methods.calling import call, conventions, recording
from eigbench.methods.no_gradient import once_forward
from eigbench.methods.sylvester import solve
from eigbench.phases import phase
from eigbench.singular.inputs import matrices, without_autocast
from eigbench.singular.rotations import polar_derivative, polar_factor

MANY = {"cpu": 300, "cuda": 25_000}
"""From so many 3×3 matrices on `rotations` takes less time than a decomposition of each: measured
forward and backward, on one thread of an AMD EPYC in both precisions, and on an H200 in float32."""


def polar(M: Tensor, *, determinant: int | None = None) -> Tensor:
    """The orthonormal polar factor `Q = U Wᴴ` of `M = U Σ Wᴴ`, the orthonormal matrix nearest to M.

    `(..., m, n)` for real or complex `M` `(..., m, n)` on any device: `QᴴQ = I` for m ≥ n, else
    `QQᴴ = I`. With `determinant=1` Q is the nearest rotation, `(..., n, n)` real, also of an M that
    is nearer to a reflection (Kabsch, Procrustes): then the smallest singular value counts as
    negative.

    The gradient depends on `1/(σi + σj)` alone. So it is exact with repeated singular values and,
    for square real M, with one that is zero; it is not finite where Q is not unique, as with two
    that are zero. There are derivatives of any order, in reverse mode and in forward mode;
    forward over forward mode raises `NotImplementedError`. Many real 3×3 matrices are decomposed
    at once.

    float32, float64, complex64 and complex128 come out as they go in; float16 and bfloat16 are
    converted to float32, which comes out; autocast is off inside. Raises `ValueError` for what is
    no matrix or for another determinant, and `TypeError` for another dtype.
    """
    M = matrices(M)
    m, n = M.shape[-2:]
    if determinant is not None:
        if type(determinant) is not int or determinant != 1:
            raise InputError(f"determinant must be 1 or None, not {determinant!r}")
        if m != n or M.is_complex():
            raise InputError(
                "determinant=1 is for real square matrices, "
                f"not {str(M.dtype).removeprefix('torch.')} of shape {tuple(M.shape)}"
            )
    with without_autocast(M):
        if m < n:
            return _tall(M.mH, determinant).mH
        return _tall(M, determinant)


def _tall(M: Tensor, determinant: int | None) -> Tensor:
    constant = M.detach()
    three = M.shape[-2:] == (3, 3) and not M.is_complex()
    if three and M.shape[:-2].numel() >= MANY.get(M.device.type, 0):
        with phase("decomposition"):
            Q = polar_factor(constant, rotation=determinant == 1)
        return _connected(M, Q, None, None)
    with phase("decomposition"):
        U, values, Wh = torch.linalg.svd(constant, full_matrices=False)
        if determinant == 1:
            U, values = _turned(U, values, Wh)
        return _connected(M, U @ Wh, Wh.mH, values)


def _turned(U: Tensor, values: Tensor, Wh: Tensor) -> tuple[Tensor, Tensor]:
    """With the last column and singular value of the other sign where `det(U Wᴴ)` is negative."""
    negative = torch.linalg.det(U) * torch.linalg.det(Wh) < 0
    last = torch.arange(values.shape[-1], device=values.device) == values.shape[-1] - 1
    signs = torch.where(negative[..., None] & last, -1.0, 1.0).to(values.dtype)
    return U * signs[..., None, :], values * signs


class _Polar(torch.autograd.Function):
    """`Q` forward. The derivative by M is its own transpose, so it is both modes.

    With `P = QᴴM`: `dQ = Q X + (I − QQᴴ) dM P⁻¹`, where `P X + X P = QᴴdM − dMᴴQ`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, Q: Tensor, W: Tensor | None, values: Tensor | None) -> Tensor:
        return Q.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _derivative(ctx, gradients[0]), None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map."""
        return _derivative(ctx, once_forward(tangents[0], ctx.saved_tensors[0]))


_POLAR = conventions(_Polar)


def _connected(M: Tensor, Q: Tensor, W: Tensor | None, values: Tensor | None) -> Tensor:
    """`Q` as a result of M; `W`, `values` are the eigenpairs of `QᴴM`, which 3×3 do not need."""
    factor: Tensor = call(_POLAR, M, Q, W, values)
    return factor


def _derivative(ctx: Any, G: Tensor) -> Tensor:
    M, Q, W, values = ctx.saved_tensors
    m, n = M.shape[-2:]
    with phase("products"):
        if recording():
            # What follows is differentiable, and so is every derivative of it.
            Q = _connected(M, Q, W, values)
        if W is None:
            return polar_derivative(M, Q, G)
        # The equation needs P itself for its own derivatives alone.
        P = symmetric_part(Q.mH @ M) if m > n or recording() else W
        inside = Q.mH @ G
        found: Tensor = Q @ (2 * solve(P, inside, W, values, -1))
        if m > n:
            # Not `inv`, which waits for a GPU to say whether a matrix was singular.
            found = found + (G - Q @ inside) @ torch.linalg.inv_ex(P)[0]
        return found
