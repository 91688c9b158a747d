"""Functions whose divided differences need more than arithmetic: log, exp, and any smooth one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from eigbench.methods.functions import Array, SpectralFunction

NODES = 8
NEAR = 0.1
"""Relative distance up to which a divided difference is the mean of the derivative.

Gauss–Legendre with 8 nodes on an interval of that width errs by about 1e-16 even for a function
with a singularity at 0, such as a power or a logarithm; beyond it the difference of two values
loses one digit at most.
"""


@dataclass(frozen=True)
class Logarithm(SpectralFunction):
    """`log M`. `M` must be positive definite."""

    def values(self, eigenvalues: Array) -> Array:
        """`log λ`."""
        return _library(eigenvalues).log(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`log1p(δ)/(δ λ)` with the smaller λ and `δ = gap/λ`; `1/λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        return _quotient(_library(gap).log1p, gap / lower) / lower


@dataclass(frozen=True)
class Exponential(SpectralFunction):
    """`exp M`."""

    def values(self, eigenvalues: Array) -> Array:
        """`exp λ`."""
        return _library(eigenvalues).exp(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`exp(λ) expm1(gap)/gap` with the smaller λ; `exp λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        library = _library(gap)
        return library.exp(lower) * _quotient(library.expm1, gap)


@dataclass(frozen=True)
class Smooth(SpectralFunction):
    """Any function of which the derivative is given, both elementwise on arrays or tensors.

    Where two eigenvalues are within a tenth of each other, the divided difference is the mean of
    the derivative between them (Gauss–Legendre, 8 nodes): exact at a gap of 0 and free of
    cancellation near it. Between them the function must be smooth on that scale.
    """

    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any]

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)`."""
        return self.function(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """The mean of f′ where near, the quotient of differences elsewhere."""
        row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
        gap = row - column
        near = abs(gap) <= NEAR * (abs(row) + abs(column)) / 2
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        middle = (row + column) / 2
        mean = sum(
            float(weight) / 2 * self.derivative(middle + float(node) / 2 * gap)
            for node, weight in zip(nodes, weights, strict=True)
        )
        values = self.function(eigenvalues)
        library = _library(gap)
        # Where near, the gap may be 0: there it is divided by 1.
        quotient = (values[..., :, None] - values[..., None, :]) / library.where(near, 1, gap)
        return library.where(near, mean, quotient)


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
