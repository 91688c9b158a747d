"""Spectral functions f(M) = V diag(f(λ)) Vᵀ: their values and their divided differences.

Only arithmetic operators and indexing are used, so each works on NumPy arrays and torch tensors
alike: the float64 truth and a method under test share the definition of f, not a gradient rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Array = Any  # numpy.ndarray or torch.Tensor: the arithmetic is the same


class SpectralFunction(Protocol):
    """A function of a symmetric matrix that acts on its eigenvalues `(..., n)`, ascending."""

    def values(self, eigenvalues: Array) -> Array:
        """`f(λ)` `(..., n)`."""
        ...

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`F[i,j] = (f(λi) − f(λj))/(λi − λj)`, `F[i,i] = f′(λi)`: `(..., n, n)`.

        The coefficients of the exact gradient (Daleckii–Krein), free of cancellation.
        """
        ...


@dataclass(frozen=True)
class InverseSquareRoot:
    """`M^(−1/2)`: ZCA whitening. `M` must be positive definite."""

    def values(self, eigenvalues: Array) -> Array:
        """`λ^(−1/2)`."""
        return eigenvalues**-0.5

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`−1/(√λi √λj (√λi + √λj))`."""
        roots = eigenvalues**0.5
        row, column = roots[..., :, None], roots[..., None, :]
        return -1 / (row * column * (row + column))


@dataclass(frozen=True)
class Identity:
    """`M` itself, put together again from its eigenpairs."""

    def values(self, eigenvalues: Array) -> Array:
        """`λ`."""
        return eigenvalues

    def divided_differences(self, eigenvalues: Array) -> Array:
        """One everywhere."""
        ones = eigenvalues * 0 + 1
        return ones[..., :, None] * ones[..., None, :]


@dataclass(frozen=True, eq=False)
class Projector:
    """The projector on chosen eigenvectors: `f` is 1 on them and 0 on the others.

    `chosen` `(..., n)` holds 1 and 0, over the ascending order. Only gaps between a chosen and
    another eigenvalue count.
    """

    chosen: Array

    def values(self, eigenvalues: Array) -> Array:  # noqa: ARG002
        """The 0 and 1 of `chosen`, whatever the eigenvalues are."""
        return self.chosen

    def divided_differences(self, eigenvalues: Array) -> Array:
        """`±1/(λi − λj)` between a chosen and another, else 0."""
        rise = self.chosen[..., :, None] - self.chosen[..., None, :]
        gap = eigenvalues[..., :, None] - eigenvalues[..., None, :]
        # Where nothing rises the gap may be anything, zero included: there it is divided by 1.
        return rise / (gap * (rise != 0) + (rise == 0))
