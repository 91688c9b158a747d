"""The rules of pairs: `Ĝ[a,b] = ½ (c⁺ A[a,b] − c⁻ A[b,a])` for a < b, written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import mpmath
from mpmath import mp, mpf

from eigbench.measure.formulas.problem import NoDerivative, Problem

Parameters = Mapping[str, Any]
Coefficients = Callable[[Problem, Parameters, int, int], tuple[Any, Any]]
"""c⁺ and c⁻ of the pair a < b: the eigenvalue of b leads."""


def _gradient(problem: Problem, coefficient: Callable[[int, int], tuple[Any, Any]]) -> Any:
    B = problem.weights
    at = [problem.function(i, x) for i, x in enumerate(problem.eigenvalues)]
    core = mp.matrix(problem.n, problem.n)
    for b in range(problem.n):
        core[b, b] = B[b, b] * at[b][1]
        for a in range(b):
            # A = Vᵀ ∂L/∂V = 2 VᵀWV diag(f)
            upper, lower = 2 * B[a, b] * at[b][0], 2 * B[b, a] * at[a][0]
            plus, minus = coefficient(a, b)
            core[a, b] = core[b, a] = (plus * upper - minus * lower) / 2
    return problem.rotated(core)


def _rule(coefficients: Coefficients) -> Callable[[Problem, Parameters], mpmath.matrix]:
    def gradient(problem: Problem, parameters: Parameters) -> mpmath.matrix:
        return _gradient(problem, lambda a, b: coefficients(problem, parameters, a, b))

    return gradient


def _twice(value: Any) -> tuple[Any, Any]:
    return value, value


def _gap(problem: Problem, a: int, b: int) -> Any:
    return problem.eigenvalues[b] - problem.eigenvalues[a]


def _pair(problem: Problem, a: int, b: int) -> tuple[Any, Any]:
    """The leading eigenvalue and the ratio of the other to it, in `M − λmin I` if λmin < 0."""
    lowest = min(problem.eigenvalues[0], mpf(0))
    leading = problem.eigenvalues[b] - lowest
    return leading, (problem.eigenvalues[a] - lowest) / leading if leading else mpf(0)


def _analytic(problem: Problem, _: Parameters, a: int, b: int) -> tuple[Any, Any]:
    return _twice(1 / _gap(problem, a, b))


def _series(leading: Any, q: Any, terms: int) -> Any:
    return sum(q**k for k in range(terms)) / leading if leading else mpf(0)


def _hybrid(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    leading, q = _pair(problem, a, b)
    K = parameters["iterations"]
    return _series(leading, q, K), _series(leading, q, K - 1)


def _taylor(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    leading, q = _pair(problem, a, b)
    return _twice(_series(leading, q, parameters["degree"] + 1))


def _pade(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    leading, q = _pair(problem, a, b)
    if not leading:
        return _twice(mpf(0))
    N = parameters["degree"]
    # Q = 1 − (1/N) Σ qʲ; P is the product of Q with the Taylor series, cut off after q^N.
    denominator = [mpf(1)] + [-mpf(1) / N] * N
    numerator = [sum(denominator[: k + 1]) for k in range(N + 1)]
    P, Q = (sum(c * q**k for k, c in enumerate(some)) for some in (numerator, denominator))
    return _twice(P / Q / leading)


def _clip(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    gap = _gap(problem, a, b)
    return _twice(1 / max(gap, mpf(parameters["threshold"])) if gap else mpf(0))


def _trunc(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    gap, largest = _gap(problem, a, b), mpf(parameters["largest"])
    return _twice(min(1 / gap, largest) if gap else largest)


def _lorentzian(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    gap, eta = _gap(problem, a, b), mpf(parameters["eta"])
    if parameters["relative"]:
        eta *= max(abs(x) for x in problem.eigenvalues)
    return _twice(gap / (gap**2 + eta**2))


def _subspace(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    values, n = problem.eigenvalues, problem.n
    leading = parameters["leading"]
    if leading is None:
        least = n * problem.epsilon * max(abs(x) for x in values)
        values = [x if abs(x) > least else mpf(0) for x in values]
        relative = [(values[i + 1] - values[i]) / (abs(values[i + 1]) or 1) for i in range(n - 1)]
        cut = next(i for i, gap in enumerate(relative) if gap >= max(relative) * mpf("0.999")) + 1
    else:
        cut = max(n - leading, 0)
    return _twice(1 / _gap(problem, a, b) if a < cut <= b else mpf(0))


def _implicit(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    atol = parameters["atol"] or problem.epsilon ** mpf("0.6")
    rtol = parameters["rtol"] or problem.epsilon ** mpf("0.4")
    gap = _gap(problem, a, b)
    rise = (
        problem.function(b, problem.eigenvalues[b])[0]
        - problem.function(a, problem.eigenvalues[a])[0]
    )

    def seen_from(i: int) -> Any:
        if gap >= atol + rtol * abs(problem.eigenvalues[i]):
            return 1 / gap
        if abs(2 * problem.weights[a, b] * rise) >= atol:
            raise NoDerivative
        return mpf(0)

    # The system of the vector b gives A[a, b], that of a gives A[b, a].
    return seen_from(b), seen_from(a)


def _topn(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    leading = parameters["leading"]
    dropped = problem.n // 2 if leading is None else max(problem.n - leading, 0)
    least = min(problem.epsilon, problem.eigenvalues[dropped])
    replaced = [least if i < dropped else x for i, x in enumerate(problem.eigenvalues)]

    def function(place: int, x: Any) -> tuple[Any, Any]:
        value, slope = problem.function(place, x)
        return value, mpf(0) if place < dropped else slope

    kept = replace(problem, eigenvalues=replaced, function=function)
    return _gradient(kept, lambda a, b: _twice(mpf(0) if b < dropped else 1 / _gap(kept, a, b)))


def _spectral(problem: Problem, _: Parameters) -> mpmath.matrix:
    """Daleckii–Krein by the divided differences as they are defined."""
    at = [problem.function(i, x) for i, x in enumerate(problem.eigenvalues)]
    core = problem.weights
    for i, x in enumerate(problem.eigenvalues):
        for j, y in enumerate(problem.eigenvalues):
            if x == y:
                core[i, j] *= at[i][1] if i == j else (at[i][1] + at[j][1]) / 2
            else:
                core[i, j] *= (at[i][0] - at[j][0]) / (x - y)
    return problem.rotated(core)


FORMULAS = {
    "eigh": _rule(_analytic),
    "svd": _rule(_analytic),
    "svd-released": _rule(_analytic),
    "hybrid": _rule(_hybrid),
    "hybrid-loop": _rule(_hybrid),
    "taylor": _rule(_taylor),
    "pade": _rule(_pade),
    "clip": _rule(_clip),
    "trunc": _rule(_trunc),
    "lorentzian": _rule(_lorentzian),
    "lorentzian-relative": _rule(_lorentzian),
    "implicit": _rule(_implicit),
    "subspace": _rule(_subspace),
    "topn": _topn,
    "spectral": _spectral,
}
