"""Functions whose divided differences need more than arithmetic: log, exp, and any smooth one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eigbench.methods.functions import Array, SpectralFunction, library_of

Rule = list[tuple[float, float]]


def _lobatto(count: int) -> Rule:
    """The nodes and weights of the Gauss rule that has both ends among its nodes."""
    polynomial = np.polynomial.legendre.Legendre.basis(count - 1)
    nodes = np.concatenate([[-1.0], np.sort(polynomial.deriv().roots().real), [1.0]])
    weights = 2 / (count * (count - 1) * polynomial(nodes) ** 2)
    return list(zip(nodes.tolist(), weights.tolist(), strict=True))


LEGENDRE: Rule = list(zip(*(x.tolist() for x in np.polynomial.legendre.leggauss(8)), strict=True))
LOBATTO: Rule = _lobatto(9)
"""Both are exact up to degree 15. Wherever a step is, they differ by 1.4 % of its height or more:
a rule with both ends and a middle beside one with neither has no place in common to miss it."""
CLOSE = 1e-2
"""Relative gap of a pair that is close."""
ROUNDINGS = 8
"""By so many roundings the values of f, in units of its own size, may be off."""


@dataclass(frozen=True)
class Logarithm(SpectralFunction):
    """`log M`. `M` must be positive definite."""

    def values(self, eigenvalues: Array) -> Array:
        """`log λ`."""
        return library_of(eigenvalues).log(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`log1p(gap/λ)/gap` with the smaller λ; `1/λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        library = library_of(gap)
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
        return library_of(eigenvalues).exp(eigenvalues)

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`−exp(λ) expm1(−gap)/gap` with the larger λ; `exp λ` at a gap of 0."""
        lower, gap = _lower_and_gap(eigenvalues)
        library = library_of(gap)
        return library.exp(lower + gap) * _quotient(library.expm1, -gap)


@dataclass(frozen=True)
class Smooth(SpectralFunction):
    """Any function of which the derivative is given, both elementwise on arrays or tensors.

    A divided difference is the quotient of differences, which loses digits where two eigenvalues
    are close, or the mean of the derivative between the two (Gauss–Legendre, 8 nodes), which is
    right where f is smooth between them. The mean is taken where a second rule agrees with it, and
    where the quotient, so far as rounding leaves it, does too. So f may have kinks, as clamp has,
    and jumps. At a gap of 0 it is the derivative itself, which may be infinite.

    An eigenvalue that is 0 but for rounding counts as 0 where f is not finite, as a negative one
    for x log x; and where f is NaN at 0 itself, its value is that from the right. `epsilon` is that
    of the dtype in which M was computed, by default that of the eigenvalues.
    """

    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    epsilon: float | None = None

    unbounded: ClassVar[bool] = True

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)`."""
        return self._values(self._places(eigenvalues))

    def divided_differences(self, eigenvalues: Array) -> Array:
        """The mean of f′ where that is the better of the two, else the quotient."""
        places, library = self._places(eigenvalues), library_of(eigenvalues)
        values, epsilon = self._values(places), library.finfo(eigenvalues.dtype).eps
        row, column = places[..., :, None], places[..., None, :]
        above, below = values[..., :, None], values[..., None, :]
        gap, size, rise = row - column, abs(above) + abs(below), above - below
        mean, other = (self._mean_slope(row, column, rule) for rule in (LEGENDRE, LOBATTO))
        # All times the gap, which may be 0. What is infinite is no bound.
        agree = (abs(mean - other) * abs(gap) <= epsilon * size) & library.isfinite(size)
        # Of a pair that is close, f may have lost half of its digits: 1 − exp(−x) near 0 has.
        furthest = library.maximum(abs(row), abs(column))
        scale = library.maximum(abs(places[..., :1]), abs(places[..., -1:]))[..., None]
        rounding = library.where(
            abs(gap) <= CLOSE * furthest,
            epsilon**0.5 * size,
            ROUNDINGS * epsilon * (size + scale * abs(mean)),
        )
        smooth = (gap == 0) | (agree & (abs(mean * gap - rise) <= rounding))
        return library.where(smooth, mean, rise / library.where(smooth, 1, gap))

    def _places(self, eigenvalues: Array) -> Array:
        """The eigenvalues, with 0 for what is 0 but for rounding where f is not finite."""
        library = library_of(eigenvalues)
        largest = library.maximum(abs(eigenvalues[..., :1]), abs(eigenvalues[..., -1:]))
        epsilon = self.epsilon or library.finfo(eigenvalues.dtype).eps
        least = eigenvalues.shape[-1] * epsilon * largest
        lost = ~library.isfinite(self.function(eigenvalues)) & (abs(eigenvalues) <= least)
        return library.where(lost, 0, eigenvalues)

    def _values(self, places: Array) -> Array:
        """f, and at a 0 where it is NaN the value at the least positive number."""
        library = library_of(places)
        undefined = library.isnan(self.function(places)) & (places == 0)
        return self.function(library.where(undefined, library.finfo(places.dtype).tiny, places))

    def _mean_slope(self, row: Array, column: Array, rule: Rule) -> Array:
        """The mean of f′ between two eigenvalues, `(..., n, n)`."""
        middle, half = (row + column) / 2, (row - column) / 2
        parts = [weight / 2 * self.derivative(middle + place * half) for place, weight in rule]
        return sum(parts[1:], parts[0])


def _lower_and_gap(eigenvalues: Array) -> tuple[Array, Array]:
    """The smaller of each two eigenvalues, and how far the other is: `(..., n, n)`."""
    row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
    return library_of(eigenvalues).minimum(row, column), abs(row - column)


def _quotient(rise: Callable[[Any], Any], x: Array) -> Array:
    """`rise(x)/x`, and 1 where x is 0, for a function with slope 1 there."""
    zero = x == 0
    safe = library_of(x).where(zero, 1, x)
    return library_of(x).where(zero, 1, rise(x) / safe)
