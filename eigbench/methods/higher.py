"""Every derivative of `f(M)`, exact at any gap: divided differences of higher order.

In the basis of eigenvectors, with `Ê = VᴴEV`, let

    T_k(E₁, …, E_k)[i₀, i_k] = Σ f[λ_{i₀}, …, λ_{i_k}] Ê₁[i₀, i₁] ⋯ Ê_k[i_{k−1}, i_k],

summed over the indices between. `T₀` is `f(M)` and `T₁(dM)` its derivative (Daleckii–Krein). What
follows by M is a sum of the same again, since the derivative of a divided difference is the next:

    dT_k(E₁, …, E_k) = Σ_p T_{k+1}(E₁, …, E_p, dM, E_{p+1}, …, E_k) + Σ_l T_k(…, dE_l, …).

So one rule of differentiation is enough for derivatives of any order. A table of order k has
`n^(k+1)` entries. The two roots need none: `S S = M` and `S Z = I` give their `T_k` by products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.base import symmetric_part
from eigbench.methods.calling import call, conventions
from eigbench.methods.differences import divided_differences, together
from eigbench.methods.functions import InverseSquareRoot, SpectralFunction, SquareRoot
from eigbench.methods.no_gradient import once_forward


def derivative(
    M: Tensor,
    V: Tensor,
    eigenvalues: Tensor,
    cut: Tensor | None,
    function: SpectralFunction,
    *directions: Tensor,
) -> Tensor:
    """`T_k` of so many `directions` `(..., n, n)` at Hermitian `M` `(..., n, n)`.

    Differentiable by M and by the directions, to any order; of a single direction the Hermitian
    part counts. `M = V diag(eigenvalues) Vᴴ` is given as constants, too. `function` and `cut` are
    what `differences.apart` gives of one that `differences.is_known` knows.
    """
    composed: Tensor = call(_DERIVATIVE, M, V, eigenvalues, cut, function, *directions)
    return composed


class _Derivative(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        M: Tensor,
        V: Tensor,
        eigenvalues: Tensor,
        cut: Tensor | None,
        function: SpectralFunction,
        *directions: Tensor,
    ) -> Tensor:
        function = together(function, cut)
        inside = [V.mH @ E @ V for E in directions]
        if len(directions) == 1:
            F, core = function.divided_differences(eigenvalues), symmetric_part(inside[0])
            return turned_back(V, F, core, unbounded=function.unbounded)
        return V @ _in_eigenbasis(function, eigenvalues, inside) @ V.mH

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        M, V, eigenvalues, cut, ctx.function, *directions = inputs
        ctx.save_for_backward(M, V, eigenvalues, cut, *directions)
        ctx.save_for_forward(M, V, eigenvalues, cut, *directions)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The transposed maps: what is before and what is behind change places, as adjoints."""
        M, V, eigenvalues, cut, *directions = ctx.saved_tensors
        k, W = len(directions), gradients[0]
        adjoints = [symmetric_part(E) if k == 1 else E.mH for E in directions]

        def between(before: int, behind: int) -> Tensor:
            around = [*adjoints[:before][::-1], W, *adjoints[behind:][::-1]]
            return derivative(M, V, eigenvalues, cut, ctx.function, *around)

        by_M = None
        if ctx.needs_input_grad[0]:
            by_M = symmetric_part(_total([between(p, p) for p in range(k + 1)]))
        wanted = ctx.needs_input_grad[5:]
        by_directions = [between(p, p + 1) if wanted[p] else None for p in range(k)]
        return by_M, None, None, None, None, *by_directions

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        """The sum over the places at which dM or the tangent of a direction can be."""
        M, V, eigenvalues, cut, *directions = ctx.saved_tensors
        dM, *changes = tangents[0], *tangents[5:]
        if len(directions) == 1:
            directions = [symmetric_part(directions[0])]

        def with_one(E: Tensor, before: int, behind: int) -> Tensor:
            around = [*directions[:before], once_forward(E, M), *directions[behind:]]
            return derivative(M, V, eigenvalues, cut, ctx.function, *around)

        terms = [with_one(E, p, p + 1) for p, E in enumerate(changes) if E is not None]
        if dM is not None:
            dM = symmetric_part(dM)
            terms += [with_one(dM, p, p) for p in range(len(directions) + 1)]
        return _total(terms)


_DERIVATIVE = conventions(_Derivative)


def turned_back(V: Tensor, F: Tensor, core: Tensor, *, unbounded: bool) -> Tensor:
    """`V (F ∘ core) Vᴴ`; where F is infinite, so is what it reaches, and no more."""
    if not unbounded:
        product: Tensor = V @ (F * core) @ V.mH
        return product
    # Times 0 an infinite coefficient would be NaN, and in all of the matrix.
    infinite = F.isinf()
    found = V @ (torch.where(infinite, 0, F) * core) @ V.mH
    reached = V @ (torch.where(infinite, F.sign(), 0) * core) @ V.mH
    return torch.where(reached != 0, reached * torch.inf, found)


def _in_eigenbasis(
    function: SpectralFunction, eigenvalues: Tensor, directions: Sequence[Tensor]
) -> Tensor:
    """`T_k`, k ≥ 2, of directions that are in the basis of eigenvectors already."""
    if isinstance(function, SquareRoot):
        return _root(eigenvalues.clip(0).sqrt(), directions)
    if isinstance(function, InverseSquareRoot):
        return _inverse_root(eigenvalues.sqrt(), directions)
    k = len(directions)
    table = divided_differences(function, eigenvalues, k).to(directions[0].dtype)
    # "...abc,...ab,...bc->...ac" for k = 2
    letters = "abcdefghijklmnop"[: k + 1]
    factors = ",".join(f"...{letters[i : i + 2]}" for i in range(k))
    equation = f"...{letters},{factors}->...{letters[0]}{letters[-1]}"
    return torch.einsum(equation, table, *directions)


def _root(roots: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """`T_k` of M^(1/2), k ≥ 1: from `S S = M`, `Σ_l T_l T_{k−l} = 0` but for k = 1."""
    k = len(directions)
    sums = roots.unsqueeze(-1) + roots.unsqueeze(-2)
    if k == 1:
        return directions[0] / sums
    products = [
        _root(roots, directions[:split]) @ _root(roots, directions[split:]) for split in range(1, k)
    ]
    return -_total(products) / sums


def _inverse_root(roots: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """`T_k` of M^(−1/2), k ≥ 1: from `Z S = I`, `Σ_l T_l(Z) T_{k−l}(S) = 0`."""
    first = _root(roots, directions) / roots.unsqueeze(-1)
    products = [
        _inverse_root(roots, directions[:split]) @ _root(roots, directions[split:])
        for split in range(1, len(directions))
    ]
    return -_total([first, *products]) / roots.unsqueeze(-2)


def _total(terms: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, terms)
