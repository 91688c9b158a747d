"""One matrix, one loss and its derivatives in 60 digits, for the formulas of the methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
    Whitening,
)
from eigbench.spectra import Floats

DIGITS = 60
STEP = mpf(10) ** -20
"""Of central differences: they err by about its square, and rounding by 10⁻⁶⁰ over it."""


class NoDerivative(ArithmeticError):
    """The rule itself says that there is none."""


Scalar = Callable[[Any], Any]
_INVERSE_ROOT: tuple[Scalar, Scalar] = (
    lambda x: 1 / mp.sqrt(x),
    lambda x: -1 / (2 * x * mp.sqrt(x)),
)
_SCALARS: dict[type[SpectralFunction], tuple[Scalar, Scalar]] = {
    InverseSquareRoot: _INVERSE_ROOT,
    Whitening: _INVERSE_ROOT,
    SquareRoot: (mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x))),
    Identity: (lambda x: x, lambda _: mpf(1)),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """`⟨W, f(M)⟩`, M with its eigenpairs, ascending; `epsilon` is of the precision of M."""

    M: mpmath.matrix
    W: mpmath.matrix
    inverse: bool
    """Whether f is the inverse square root."""
    eigenvalues: list[Any]
    V: mpmath.matrix
    function: Callable[[int, Any], tuple[Any, Any]] = field(repr=False)
    """f and f′ at the place of an eigenvalue in the order, and a value."""
    epsilon: Any

    @property
    def n(self) -> int:
        """The size of M."""
        return int(self.M.rows)

    @property
    def weights(self) -> mpmath.matrix:
        """`VᵀWV`."""
        return self.V.T * self.W * self.V

    def rotated(self, core: mpmath.matrix) -> mpmath.matrix:
        """`V core Vᵀ`."""
        return self.V * core * self.V.T


def problem_of(
    M: Floats, W: Floats, function: SpectralFunction, seed: int, epsilon: float
) -> Problem | None:
    """The problem of one seed in the digits that are set; None for a function not known here."""
    if isinstance(function, Projector):
        chosen = [mpf(float(one)) for one in function.chosen[seed]]

        def at(place: int, x: Any) -> tuple[Any, Any]:
            return chosen[place], 0 * x
    else:
        kept = function.kept[seed] if isinstance(function, Truncated) else np.ones(len(M))
        inner = function.function if isinstance(function, Truncated) else function
        if type(inner) not in _SCALARS:
            return None
        value, slope = _SCALARS[type(inner)]

        def at(place: int, x: Any) -> tuple[Any, Any]:
            return (value(x), slope(x)) if kept[place] else (0 * x, 0 * x)

    exact = mp.matrix(M.tolist())
    eigenvalues, V = mp.eigsy(exact)
    order = sorted(range(len(eigenvalues)), key=lambda i: eigenvalues[i])
    basis = mp.matrix([[V[row, i] for i in order] for row in range(exact.rows)])
    values = [eigenvalues[i] for i in order]
    inverse = isinstance(function, InverseSquareRoot)
    return Problem(exact, mp.matrix(W.tolist()), inverse, values, basis, at, mpf(epsilon))


def central_differences(
    problem: Problem, function: Callable[[mpmath.matrix], mpmath.matrix]
) -> mpmath.matrix:
    """`∂⟨W, function(M)⟩/∂M`, entry by entry."""
    n = problem.n
    G = mp.matrix(n, n)
    for i in range(n):
        for j in range(n):
            E = mp.matrix(n, n)
            E[i, j] += STEP / 2
            E[j, i] += STEP / 2
            rise = _inner(problem.W, function(problem.M + E) - function(problem.M - E))
            G[i, j] = rise / (2 * STEP)
    return G


def _inner(A: mpmath.matrix, B: mpmath.matrix) -> Any:
    return sum(A[i, j] * B[i, j] for i in range(A.rows) for j in range(A.cols))
