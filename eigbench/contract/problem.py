"""What a formula in 60 digits is given: the eigenpairs of M, and the loss `⟨W, f(M)⟩`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpc, mpf

from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
    Whitening,
)
from eigbench.spectra import Numbers

STEP = mpf(10) ** -20
"""Of central differences: they err by about its square, and rounding by 10⁻⁶⁰ over it."""

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
    hermitian: bool = False
    """Whether M is complex."""

    @property
    def n(self) -> int:
        """The size of M."""
        return int(self.M.rows)

    @property
    def weights(self) -> mpmath.matrix:
        """`VᴴWV`."""
        return self.V.H * self.W * self.V

    def rotated(self, core: mpmath.matrix) -> mpmath.matrix:
        """`V core Vᴴ`."""
        return self.V * core * self.V.H


Parameters = Mapping[str, Any]
"""A method's own, by name."""
Formula = Callable[[Problem, Parameters], mpmath.matrix]
"""The gradient `∂Re⟨W, f(M)⟩/∂M` by the rule of a method."""


def problem_of(
    M: Numbers, W: Numbers, function: SpectralFunction, seed: int, epsilon: float
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
    values, basis = eigenpairs(exact, hermitian=np.iscomplexobj(M))
    inverse = isinstance(function, InverseSquareRoot)
    return Problem(
        exact, mp.matrix(W.tolist()), inverse, values, basis, at, mpf(epsilon), np.iscomplexobj(M)
    )


def eigenpairs(M: mpmath.matrix, *, hermitian: bool) -> tuple[list[Any], mpmath.matrix]:
    """Eigenvalues, ascending, and eigenvectors in columns, of a complex M or a real one."""
    eigenvalues, V = (mp.eighe if hermitian else mp.eigsy)(M)
    order = sorted(range(M.rows), key=lambda i: eigenvalues[i])
    basis = mp.matrix([[V[row, i] for i in order] for row in range(M.rows)])
    return [eigenvalues[i] for i in order], basis


def central_differences(
    problem: Problem, function: Callable[[mpmath.matrix], mpmath.matrix]
) -> mpmath.matrix:
    """`∂Re⟨W, function(M)⟩/∂M`, entry by entry; of complex M the imaginary part too."""
    n = problem.n
    G = mp.matrix(n, n)
    for i, j in combinations_with_replacement(range(n), 2):
        for unit in (1, mpc(0, 1)) if problem.hermitian and i < j else (1,):
            E = mp.matrix(n, n)
            E[i, j] += unit * STEP / 2
            E[j, i] += mp.conj(unit) * STEP / 2
            rise = _inner(problem.W, function(problem.M + E) - function(problem.M - E))
            G[i, j] += unit * rise / (2 * STEP)
        G[j, i] = mp.conj(G[i, j])
    return G


def _inner(A: mpmath.matrix, B: mpmath.matrix) -> Any:
    return sum(mp.re(mp.conj(A[i, j]) * B[i, j]) for i in range(A.rows) for j in range(A.cols))
