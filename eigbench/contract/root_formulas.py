"""Roots by matrix products, again in 60 digits: as functions of the eigenvalues.

The methods multiply matrices; here is no product but with the eigenvectors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mpmath
from mpmath import mp, mpf

if TYPE_CHECKING:
    from eigbench.contract.formulas import Formula
    from eigbench.contract.problem import Problem

Parameters = Mapping[str, Any]
Step = tuple[Any, ...]
"""Coefficients of x, x³, …"""


def _newton_db(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """IterNorm's `p ← (3p − p³a)/2`, scaled by (tr M¹⁶)^(1/16), which is held fixed."""
    scale = sum(x**16 for x in problem.eigenvalues) ** (mpf(1) / 16)

    def value(x: Any) -> Any:
        p = mpf(1)
        for _ in range(parameters["steps"]):
            p = (3 * p - p**3 * x / scale) / 2
        return p / mp.sqrt(scale) if problem.inverse else p * x / mp.sqrt(scale)

    return _exact(problem, value)


def _coupled_newton(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """λ^(−1/2), the only root among the losses, with a scale that is held fixed."""
    scale = mp.mnorm(problem.M, "f") * 2 / 3

    def value(x: Any) -> Any:
        if x < 0:
            raise ValueError("a negative eigenvalue has no root, and the steps grow beyond bounds")
        root, rest = 1 / mp.sqrt(scale), x / scale
        for _ in range(parameters["steps"]):
            factor = (3 - rest) / 2
            root, rest = root * factor, rest * factor**2
        return root

    return _exact(problem, value)


def _exact(problem: Problem, value: Callable[[Any], Any]) -> mpmath.matrix:
    """The gradient of ⟨W, f(M)⟩ for a smooth f, by divided differences as they are defined."""
    core, values = problem.weights, problem.eigenvalues
    for i, x in enumerate(values):
        for j, y in enumerate(values):
            core[i, j] *= mp.diff(value, x) if x == y else (value(x) - value(y)) / (x - y)
    return problem.rotated(core)


def _minimax(degree: int) -> Formula:
    """The root by its eigenvalues r; of the Lyapunov equation the pair is `(s + s′)/2/(r + r′)`.

    With s the sign that the same steps make of r.
    """

    def gradient(problem: Problem, parameters: Parameters) -> mpmath.matrix:
        steps = _best_steps(degree, float(parameters["condition"]))
        steps += ((mpf(3) / 2, -mpf(1) / 2),) * parameters["polish"]

        def near_one(x: Any) -> Any:
            for step in steps:
                x = sum(c * x ** (2 * k + 1) for k, c in enumerate(step))
            return x

        norm, core = mp.sqrt(sum(x**2 for x in problem.eigenvalues)), problem.weights
        R = []
        for value in problem.eigenvalues:
            x = mp.sqrt(value / norm)
            R.append(near_one(x) / x / mp.sqrt(norm) if problem.inverse
                     else near_one(x) * x * mp.sqrt(norm))  # fmt: skip
        size = sum(r**4 for r in R) ** (mpf(1) / 4)
        signs = [near_one(r / size) for r in R]
        for i, r in enumerate(R):
            for j, other in enumerate(R):
                core[i, j] *= -(r**2) * other**2 if problem.inverse else 1
                core[i, j] *= (signs[i] + signs[j]) / 2 / (r + other)
        return problem.rotated(core)

    return gradient


@functools.cache
def _best_steps(degree: int, condition: float) -> tuple[Step, ...]:
    """By Remez: coefficients of x, x³, … and the error in one system, new points by its slope."""
    lower, upper, count = 1 / (3 * mp.sqrt(condition)), mpf(1), (degree + 1) // 2
    steps = []
    while upper - lower > mpf("0.04"):
        points, change = mp.linspace(lower, upper, count + 1), mpf(1)
        while change > mpf(10) ** -40:
            rows = [
                [x ** (2 * k + 1) for k in range(count)] + [mpf(-1) ** place]
                for place, x in enumerate(points)
            ]
            *found, error = mp.lu_solve(mp.matrix(rows), mp.ones(count + 1, 1))
            slope = [(2 * k + 1) * c for k, c in enumerate(found)]
            inner = sorted(mp.sqrt(t) for t in mp.polyroots(slope[::-1], extraprec=mp.prec))
            before, points = points, [lower, *inner, upper]
            change = max(abs(x - y) for x, y in zip(points, before, strict=True))
        steps.append(tuple(found))
        lower, upper = 1 - error, 1 + error
    return tuple(steps)


ROOT_FORMULAS: dict[str, Formula] = {
    "newton-db": _newton_db,
    "cans": _minimax(3),
    "polar-express": _minimax(5),
    "coupled-newton": _coupled_newton,
}
