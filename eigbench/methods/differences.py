"""Divided differences of any order, `f[λi, λj, λk, …]`, accurate at any gap, zero included."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    OnRange,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
)
from eigbench.methods.smooth import LEGENDRE, Exponential, Logarithm, Smooth

ROUNDINGS = 32
"""By so many roundings a quotient of lower differences and a mean may differ and be the same."""


_ELEMENTARY = (Identity, InverseSquareRoot, SquareRoot, Logarithm, Exponential, Smooth)


def is_known(function: SpectralFunction) -> bool:
    """Whether there are divided differences of every order."""
    inner = function.function if isinstance(function, (Truncated, OnRange)) else function
    return isinstance(inner, _ELEMENTARY) or isinstance(function, Projector)


def apart(
    function: SpectralFunction, eigenvalues: Tensor
) -> tuple[SpectralFunction, Tensor | None]:
    """A function without its tensor, and the tensor, if it has one: which eigenvalues a cut keeps.

    So autograd and `torch.func.vmap` see all tensors.
    """
    if isinstance(function, OnRange):
        function = function.cut(eigenvalues)
    if isinstance(function, Projector):
        return replace(function, chosen=None), function.chosen
    if isinstance(function, Truncated):
        return replace(function, kept=None), function.kept
    return function, None


def together(function: SpectralFunction, cut: Tensor | None) -> SpectralFunction:
    """What `apart` took apart."""
    if isinstance(function, Projector):
        return replace(function, chosen=cut)
    if isinstance(function, Truncated):
        return replace(function, kept=cut)
    return function


def divided_differences(function: SpectralFunction, eigenvalues: Tensor, order: int) -> Tensor:
    """`f[λi, …, λj]` of `order + 1` ascending eigenvalues, 3 or more: `(..., n, …, n)`.

    The quotient of differences of the order below, which loses digits where eigenvalues are
    close, or the mean of the derivative of that order between them (Hermite and Genocchi;
    Gauss–Legendre, 8 nodes an axis), which is right where f is smooth there. The mean is taken
    where the quotient, so far as rounding leaves it, agrees. All is computed in float64, and
    on each combination of indices once.
    """
    n, dtype, eigenvalues = eigenvalues.shape[-1], eigenvalues.dtype, eigenvalues.double()
    indices = _combinations(n, 2, eigenvalues.device)
    table = function.divided_differences(eigenvalues)[..., indices[:, 0], indices[:, 1]]
    piece = _piece(function, eigenvalues)
    for length in range(3, order + 2):
        indices = _combinations(n, length, eigenvalues.device)
        table = _next(table, indices, eigenvalues, piece)
    every = torch.cartesian_prod(*[torch.arange(n, device=eigenvalues.device)] * (order + 1))
    places = _position(every.sort(-1).values, n)
    every_one: Tensor = table[..., places].unflatten(-1, (n,) * (order + 1))
    return every_one.to(dtype)


@dataclass(frozen=True)
class _Piece:
    """What a function is between eigenvalues.

    `slope(order, x)` is its derivative of that order, elementwise. `side` `(..., n)` says to which
    of several smooth functions each eigenvalue belongs, if there are several; 0 is the function 0.
    """

    slope: Callable[[int, Tensor], Tensor]
    side: Tensor | None = None


def _piece(function: SpectralFunction, eigenvalues: Tensor) -> _Piece:
    if isinstance(function, Projector):
        side = function.chosen.expand(eigenvalues.shape)
        return _Piece(lambda _, x: torch.zeros_like(x), side)
    if isinstance(function, Truncated):
        side = function.kept.expand(eigenvalues.shape)
        return _Piece(_piece(function.function, eigenvalues).slope, side)
    return _Piece(_slope(function))


def _slope(function: SpectralFunction) -> Callable[[int, Tensor], Tensor]:
    """`f⁽ᵏ⁾(x)`, k ≥ 2, as a function of k and x."""
    match function:
        case InverseSquareRoot():
            return lambda order, x: _falling(-0.5, order) * x ** (-0.5 - order)
        case SquareRoot():
            return lambda order, x: _falling(0.5, order) * x ** (0.5 - order)
        case Logarithm():
            return lambda order, x: _falling(-1.0, order - 1) * x**-order
        case Exponential():
            return lambda _, x: x.exp()
        case Identity():
            return lambda _, x: torch.zeros_like(x)
        case Smooth():
            return lambda order, x: _again(function.derivative, order - 1)(x)
    raise TypeError(f"no derivatives of {type(function).__name__} are known")


def _falling(power: float, order: int) -> float:
    """`p(p − 1)…`, of so many factors."""
    return math.prod(power - i for i in range(order))


def _again(function: Callable[[Tensor], Tensor], times: int) -> Callable[[Tensor], Tensor]:
    """An elementwise function, differentiated so many times by torch."""
    if times == 0:
        return function
    inner = _again(function, times - 1)
    return lambda x: torch.func.jvp(inner, (x,), (torch.ones_like(x),))[1]


def _next(table: Tensor, indices: Tensor, eigenvalues: Tensor, piece: _Piece) -> Tensor:
    """The differences `(..., N)` of `indices` `(N, k + 1)` from those of one index fewer."""
    n, last = eigenvalues.shape[-1], indices.shape[-1] - 1
    x = eigenvalues[..., indices]
    side = None if piece.side is None else piece.side[..., indices]
    lower = [
        table[..., _position(torch.cat([indices[:, :i], indices[:, i + 1 :]], -1), n)]
        for i in range(last + 1)
    ]
    quotient, rounding, gap = _quotient(lower, x, 0, last)
    mixed = torch.zeros_like(gap, dtype=torch.bool)
    if side is not None:
        # Across a cut nothing is smooth: there any two of different sides are the right ones.
        for i, j in combinations(range(last + 1), 2):
            other = _quotient(lower, x, i, j)
            better = (side[..., i] != side[..., j]) & (~mixed | (other[2] > gap))
            quotient, rounding, gap = (
                torch.where(better, new, old)
                for new, old in zip(other, (quotient, rounding, gap), strict=True)
            )
            mixed = mixed | better
        dropped = side == 0
        x = torch.where(dropped, 1, x)
    mean = _mean(piece.slope, x)
    if side is not None:
        mean = torch.where(dropped[..., 0], 0, mean)
    smooth = (gap == 0) | ((mean - quotient).abs() <= rounding)
    return torch.where(smooth & ~mixed, mean, quotient)


def _quotient(lower: list[Tensor], x: Tensor, i: int, j: int) -> tuple[Tensor, Tensor, Tensor]:
    """The quotient without the i-th and without the j-th, what rounding leaves, and the gap."""
    gap = x[..., j] - x[..., i]
    divisor = torch.where(gap == 0, 1, gap)
    size = lower[i].abs() + lower[j].abs()
    rounding = ROUNDINGS * torch.finfo(x.dtype).eps * size / divisor
    return (lower[i] - lower[j]) / divisor, rounding, gap


def _mean(slope: Callable[[int, Tensor], Tensor], x: Tensor) -> Tensor:
    """`∫ f⁽ᵏ⁾` over the simplex of `x` `(..., N, k + 1)`: `(..., N)`."""
    order = x.shape[-1] - 1
    nodes = x.new_tensor([[(1 + node) / 2, weight / 2] for node, weight in LEGENDRE])
    total = torch.zeros_like(x[..., 0])
    for choice in torch.cartesian_prod(*[torch.arange(len(LEGENDRE))] * order).tolist():
        # t₁ ≥ t₂ ≥ …, each a part of the one before.
        parts, weights = nodes[choice].unbind(-1)
        powers = torch.arange(order - 1, -1, -1, device=x.device)
        place = x[..., 0] + (x.diff() * parts.cumprod(0)).sum(-1)
        total = total + (weights * parts**powers).prod() * slope(order, place)
    return total


def _combinations(n: int, length: int, device: torch.device) -> Tensor:
    """All ascending `length` indices below n, repeated ones too, in lexicographic order."""
    return torch.combinations(torch.arange(n, device=device), length, with_replacement=True)


def _position(indices: Tensor, n: int) -> Tensor:
    """Where ascending indices `(..., length)` stand among `_combinations`."""
    length = indices.shape[-1]
    powers = n ** torch.arange(length - 1, -1, -1, device=indices.device)
    codes = (_combinations(n, length, indices.device) * powers).sum(-1)
    return torch.searchsorted(codes, (indices * powers).sum(-1))
