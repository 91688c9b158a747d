"""Roots by matrix products, again in 60 digits.

Some of them as functions of the eigenvalues, without a product but with the eigenvectors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath
from mpmath import mp, mpf

from eigbench.contract.problem import Formula, Parameters, Problem, central_differences

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


def _newton_schulz(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """IterNorm's `P ← (3P − P³A)/2` for the inverse root, and `A P` for the root."""

    def value(M: mpmath.matrix) -> mpmath.matrix:
        trace = sum(mp.re(M[i, i]) for i in range(problem.n))
        A, P = M / trace, mp.eye(problem.n)
        for _ in range(parameters["steps"]):
            P = (3 * P - P * P * P * A) / mpf(2)
        root = mp.sqrt(trace)
        return P / root if problem.inverse else A * P * root

    return central_differences(problem, value)


def _pade_root(Z: mpmath.matrix, *, inverse: bool) -> mpmath.matrix:
    """[5/5] of √(1 − z), its coefficients from the Taylor series by linear equations."""
    series = [mp.binomial(mpf(1) / 2, k) * (-1) ** k for k in range(11)]
    numerator, denominator = mp.pade(series, 5, 5)
    P, Q = _polynomial(numerator, Z), _polynomial(denominator, Z)
    return mp.inverse(P) * Q if inverse else mp.inverse(Q) * P


def _taylor_root(Z: mpmath.matrix, *, inverse: bool) -> mpmath.matrix:
    power = mpf(-1 if inverse else 1) / 2
    return _polynomial([mp.binomial(power, k) * (-1) ** k for k in range(11)], Z)


def _polynomial(coefficients: list[Any], Z: mpmath.matrix) -> mpmath.matrix:
    power, total = mp.eye(Z.rows), mp.zeros(Z.rows)
    for coefficient in coefficients:
        total += coefficient * power
        power = power * Z
    return total


def _lyapunov(root: Callable[..., mpmath.matrix]) -> Formula:
    def gradient(problem: Problem, parameters: Parameters) -> mpmath.matrix:
        inverse = problem.inverse
        norm = mp.mnorm(problem.M, "f")
        R = root(mp.eye(problem.n) - problem.M / norm, inverse=inverse)
        R = R / mp.sqrt(norm) if inverse else R * mp.sqrt(norm)
        right = -R * R * problem.W * R * R if inverse else problem.W
        return _solve(R, right, parameters["sign_steps"])

    return gradient


def _solve(R: mpmath.matrix, right: mpmath.matrix, steps: int) -> mpmath.matrix:
    """Newton–Schulz on the whole of `[[R, right], [0, −R]]`; half of its corner."""
    n = R.rows
    X = mp.zeros(2 * n)
    X[:n, :n], X[:n, n:], X[n:, n:] = R, right, -R
    X /= mp.sqrt(mp.mnorm(R * R, "f"))
    for _ in range(steps):
        X = (3 * X - X * X * X) / mpf(2)
    return X[:n, n:] / 2


ROOT_FORMULAS: dict[str, Formula] = {
    "newton-db": _newton_db,
    "cans": _minimax(3),
    "polar-express": _minimax(5),
    "coupled-newton": _coupled_newton,
    "newton-schulz": _newton_schulz,
    "svd-newton": _newton_schulz,
    "mpa-lyapunov": _lyapunov(_pade_root),
    "mtp-lyapunov": _lyapunov(_taylor_root),
}
