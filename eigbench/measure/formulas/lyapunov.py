"""The two methods that solve a Lyapunov equation backward, written out as they are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mpmath
from mpmath import mp, mpf

from eigbench.measure.formulas.problem import Problem

Parameters = Mapping[str, Any]


def _pade(Z: mpmath.matrix, *, inverse: bool) -> mpmath.matrix:
    """[5/5] of √(1 − z), its coefficients from the Taylor series by linear equations."""
    series = [mp.binomial(mpf(1) / 2, k) * (-1) ** k for k in range(11)]
    numerator, denominator = mp.pade(series, 5, 5)
    P, Q = _polynomial(numerator, Z), _polynomial(denominator, Z)
    return mp.inverse(P) * Q if inverse else mp.inverse(Q) * P


def _taylor(Z: mpmath.matrix, *, inverse: bool) -> mpmath.matrix:
    power = mpf(-1 if inverse else 1) / 2
    return _polynomial([mp.binomial(power, k) * (-1) ** k for k in range(11)], Z)


def _polynomial(coefficients: list[Any], Z: mpmath.matrix) -> mpmath.matrix:
    power, total = mp.eye(Z.rows), mp.zeros(Z.rows)
    for coefficient in coefficients:
        total += coefficient * power
        power = power * Z
    return total


def _rule(root: Callable[..., mpmath.matrix]) -> Callable[[Problem, Parameters], mpmath.matrix]:
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
    X /= mp.mnorm(R, "f")
    for _ in range(steps):
        X = (3 * X - X * X * X) / mpf(2)
    return X[:n, n:] / 2


FORMULAS = {"mpa-lyapunov": _rule(_pade), "mtp-lyapunov": _rule(_taylor)}
