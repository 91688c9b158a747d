"""Functions whose divided differences need more than arithmetic: log, exp, and any smooth one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from eigbench.methods.functions import Array, SpectralFunction

NODES, FEWER_NODES = 8, 6
"""Of two Gauss–Legendre rules, the difference of which estimates the error of the lesser."""


@dataclass(frozen=True)
class Logarithm(SpectralFunction):
    """`log M`. `M` must be positive definite."""

    def values(self, eigenvalues: Array) -> Array:
        """`log λ`."""
        return _library(eigenvalues).log(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`log1p(gap/λ)/gap` with the smaller λ; `1/λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        library = _library(gap)
        far = gap > lower
        # Further apart the quotient overflows, and logarithms no longer cancel.
        ratio = library.where(far, 1, gap / library.where(far, gap, lower))
        near = _quotient(library.log1p, ratio) / lower
        rise = abs(library.log(eigenvalues[..., :, None]) - library.log(eigenvalues[..., None, :]))
        return library.where(far, rise / library.where(far, gap, 1), near)


@dataclass(frozen=True)
class Exponential(SpectralFunction):
    """`exp M`."""

    def values(self, eigenvalues: Array) -> Array:
        """`exp λ`."""
        return _library(eigenvalues).exp(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`−exp(λ) expm1(−gap)/gap` with the larger λ; `exp λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        library = _library(gap)
        return library.exp(lower + gap) * _quotient(library.expm1, -gap)


@dataclass(frozen=True)
class Smooth(SpectralFunction):
    """Any function of which the derivative is given, both elementwise on arrays or tensors.

    A divided difference is the quotient of differences, or the mean of the derivative between the
    two (Gauss–Legendre, 8 nodes): for each pair the one with the smaller error. That of the
    quotient is rounding over the gap; that of the mean is estimated by a rule of 6 nodes. At a gap
    of 0 it is the derivative itself.
    """

    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any]

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)`."""
        return self.function(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """The mean of f′ where that is the better of the two, else the quotient."""
        row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
        gap, library = row - column, _library(eigenvalues)
        mean, lesser = (self._mean_slope(row, column, nodes) for nodes in (NODES, FEWER_NODES))
        values = self.function(eigenvalues)
        above, below = values[..., :, None], values[..., None, :]
        # Both sides times the gap, which may be 0.
        rounding = library.finfo(eigenvalues.dtype).eps * (abs(above) + abs(below))
        smooth = abs(mean - lesser) * abs(gap) <= rounding
        return library.where(smooth, mean, (above - below) / library.where(smooth, 1, gap))

    def _mean_slope(self, row: Array, column: Array, nodes: int) -> Array:
        """The mean of f′ between two eigenvalues, `(..., n, n)`."""
        middle, half = (row + column) / 2, (row - column) / 2
        places, weights = np.polynomial.legendre.leggauss(nodes)
        parts = [
            float(weight) / 2 * self.derivative(middle + float(place) * half)
            for place, weight in zip(places, weights, strict=True)
        ]
        return sum(parts[1:], parts[0])


def _lower_and_gap(eigenvalues: Array) -> tuple[Array, Array]:
    """The smaller of each two eigenvalues, and how far the other is: `(..., n, n)`."""
    row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
    return _library(eigenvalues).minimum(row, column), abs(row - column)


def _quotient(rise: Callable[[Any], Any], x: Array) -> Array:
    """`rise(x)/x`, and 1 where x is 0, for a function with slope 1 there."""
    zero = x == 0
    safe = _library(x).where(zero, 1, x)
    return _library(x).where(zero, 1, rise(x) / safe)


def _library(array: Array) -> Any:
    """NumPy or torch, whichever the array belongs to: these functions have one name in both."""
    if isinstance(array, np.ndarray):
        return np
    import torch  # late: the truth in NumPy needs none

    library: ModuleType = torch
    return library
