"""Every built-in rule again, in 60 digits and by another route: the oracle of `eigbench check`.

Nothing here shares code with `eigbench.methods`. A gradient is compared with its method's own
formula for what its arithmetic loses; with the exact gradient for what its rule is worth. A method
need not have a formula: one without is not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpc, mpf

from eigbench.contract.problem import (
    Formula,
    Parameters,
    Problem,
    central_differences,
    eigenpairs,
    problem_of,
)
from eigbench.contract.root_formulas import ROOT_FORMULAS
from eigbench.methods.base import Method
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import Numbers

DIGITS = 60


class NoDerivative(ArithmeticError):
    """The rule itself says that there is none."""


Coefficients = Callable[[Problem, Parameters, int, int], Any]
"""c⁺ and c⁻ of the pair a < b, the eigenvalue of b leads; or one number that is both."""


def _rule(coefficients: Coefficients) -> Formula:
    """The gradient of a method that replaces the coefficients of the analytic one."""

    def gradient(problem: Problem, parameters: Parameters) -> mpmath.matrix:
        B = problem.weights
        at = [problem.function(i, x) for i, x in enumerate(problem.eigenvalues)]
        core = mp.matrix(problem.n, problem.n)
        for b in range(problem.n):
            core[b, b] = B[b, b] * at[b][1]
            for a in range(b):
                # A = Vᴴ ∂L/∂V = 2 VᴴWV diag(f)
                upper, lower = 2 * B[a, b] * at[b][0], 2 * B[b, a] * at[a][0]
                c = coefficients(problem, parameters, a, b)
                plus, minus = c if isinstance(c, tuple) else (c, c)
                core[a, b] = (plus * upper - minus * mp.conj(lower)) / 2
                core[b, a] = mp.conj(core[a, b])
        return problem.rotated(core)

    return gradient


def _gap(problem: Problem, a: int, b: int) -> Any:
    return problem.eigenvalues[b] - problem.eigenvalues[a]


def _pair(problem: Problem, a: int, b: int) -> tuple[Any, Any]:
    """The leading eigenvalue and the ratio of the other to it, in `M − λmin I` if λmin < 0."""
    lowest = min(problem.eigenvalues[0], mpf(0))
    leading = problem.eigenvalues[b] - lowest
    return leading, (problem.eigenvalues[a] - lowest) / leading if leading else mpf(0)


def _analytic(problem: Problem, _: Parameters, a: int, b: int) -> Any:
    return 1 / _gap(problem, a, b)


def _series(leading: Any, q: Any, terms: int) -> Any:
    return sum(q**k for k in range(terms)) / leading if leading else mpf(0)


def _hybrid(problem: Problem, parameters: Parameters, a: int, b: int) -> tuple[Any, Any]:
    leading, q = _pair(problem, a, b)
    K = parameters["iterations"]
    return _series(leading, q, K), _series(leading, q, K - 1)


def _hybrid_eq10(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """With no derivative of f, and so none of the eigenvalues."""

    def constant(place: int, x: Any) -> tuple[Any, Any]:
        return problem.function(place, x)[0], mpf(0)

    return _rule(_hybrid)(replace(problem, function=constant), parameters)


def _taylor(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    leading, q = _pair(problem, a, b)
    return _series(leading, q, parameters["degree"] + 1)


def _pade(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    leading, q = _pair(problem, a, b)
    if not leading:
        return mpf(0)
    N = parameters["degree"]
    # Q = 1 − (1/N) Σ qʲ; P is the product of Q with the Taylor series, cut off after q^N.
    denominator = [mpf(1)] + [-mpf(1) / N] * N
    numerator = [sum(denominator[: k + 1]) for k in range(N + 1)]
    P, Q = (sum(c * q**k for k, c in enumerate(some)) for some in (numerator, denominator))
    return P / Q / leading


def _clip(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    gap = _gap(problem, a, b)
    return 1 / max(gap, mpf(parameters["threshold"])) if gap else mpf(0)


def _trunc(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    gap, largest = _gap(problem, a, b), mpf(parameters["largest"])
    return min(1 / gap, largest) if gap else largest


def _lorentzian(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    gap, eta = _gap(problem, a, b), mpf(parameters["eta"])
    if parameters["relative"]:
        eta *= max(abs(x) for x in problem.eigenvalues)
    return gap / (gap**2 + eta**2)


def _subspace(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    values, n = problem.eigenvalues, problem.n
    leading = parameters["leading"]
    if leading is None:
        least = n * problem.epsilon * max(abs(x) for x in values)
        values = [x if abs(x) > least else mpf(0) for x in values]
        relative = [(values[i + 1] - values[i]) / (abs(values[i + 1]) or 1) for i in range(n - 1)]
        cut = next(i for i, gap in enumerate(relative) if gap >= max(relative) * mpf("0.999")) + 1
    else:
        cut = max(n - leading, 0)
    return 1 / _gap(problem, a, b) if a < cut <= b else mpf(0)


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


def _mask(problem: Problem, parameters: Parameters, a: int, b: int) -> Any:
    gap = _gap(problem, a, b)
    return 1 / gap if gap > _closed(problem, parameters) else mpf(0)


def _closed(problem: Problem, parameters: Parameters) -> Any:
    tolerance = parameters["tolerance"] or problem.epsilon ** mpf("0.75")
    return tolerance * max(abs(x) for x in problem.eigenvalues)


def _incoming(problem: Problem) -> tuple[mpmath.matrix, mpmath.matrix]:
    """`Vᴴ ∂L/∂V`, and `∂L/∂λ` on a diagonal."""
    at = [problem.function(i, x) for i, x in enumerate(problem.eigenvalues)]
    B, values, slopes = problem.weights, *zip(*at, strict=True)
    by_values = mp.diag([B[i, i] * slope for i, slope in enumerate(slopes)])
    return 2 * B * mp.diag(list(values)), by_values


def _gauge_part(
    problem: Problem, parameters: Parameters
) -> tuple[mpmath.matrix, mpmath.matrix, list[list[int]]]:
    """What of `_incoming` depends on the basis inside clusters, and the cluster of each pair."""
    n, closed = problem.n, _closed(problem, parameters)
    starts = [i for i in range(n) if i == 0 or _gap(problem, i - 1, i) > closed]
    own = [[j for j in range(n) if all((i < s) == (j < s) for s in starts)] for i in range(n)]
    A, G = _incoming(problem)
    turned, spread = mp.matrix(n, n), mp.matrix(n, n)
    for i in range(n):
        spread[i, i] = G[i, i] - sum(G[j, j] for j in own[i]) / len(own[i])
        for j in own[i]:
            turned[i, j] = (A[i, j] - mp.conj(A[j, i])) / 2
    return turned, spread, own


def _gauge_projected(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    A, G = _incoming(problem)
    turned, spread, own = _gauge_part(problem, parameters)
    core, A = G - spread, A - turned
    for i in range(problem.n):
        for j in range(problem.n):
            if j not in own[i]:
                core[i, j] = (A[i, j] - mp.conj(A[j, i])) / (2 * _gap(problem, i, j))
    return problem.rotated(core)


def _mask_checked(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    given = {"tolerance": parameters["tolerance"] or 100 * problem.epsilon}
    largest = max(abs(x) for x in problem.eigenvalues)

    def size(A: mpmath.matrix, G: mpmath.matrix) -> Any:
        return max(abs(x) for x in [*A, *(largest * G)])

    turned, spread, _ = _gauge_part(problem, given)
    allowed = parameters["gauge_tolerance"] or mp.sqrt(problem.epsilon)
    if size(turned, spread) > allowed * size(*_incoming(problem)):
        raise NoDerivative
    return _rule(_mask)(problem, given)


def _jitter(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """The analytic rule of another matrix."""
    noise = np.random.default_rng(parameters["seed"]).random(problem.n)
    largest = max(abs(x) for x in problem.M)
    M = problem.M + parameters["delta"] * largest * mp.diag(noise.tolist())
    values, V = eigenpairs(M, hermitian=problem.hermitian)
    return _rule(_analytic)(replace(problem, M=M, eigenvalues=values, V=V), parameters)


def _topn(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    leading = parameters["leading"]
    dropped = problem.n // 2 if leading is None else max(problem.n - leading, 0)
    least = min(problem.epsilon, problem.eigenvalues[dropped])
    replaced = [least if i < dropped else x for i, x in enumerate(problem.eigenvalues)]

    def function(place: int, x: Any) -> tuple[Any, Any]:
        value, slope = problem.function(place, x)
        return value, mpf(0) if place < dropped else slope

    kept = replace(problem, eigenvalues=replaced, function=function)

    def coefficients(kept: Problem, _: Parameters, a: int, b: int) -> Any:
        return mpf(0) if b < dropped else 1 / _gap(kept, a, b)

    return _rule(coefficients)(kept, parameters)


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


def _power_iteration(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """Eq. 2 of the paper with deflation, from the same starts."""
    n = problem.n
    drawn = np.random.default_rng(parameters["seed"]).standard_normal((n, n))

    def value(M: mpmath.matrix) -> mpmath.matrix:
        found = []
        for place in range(n):
            v = mp.matrix(drawn[:, place].tolist())
            for _ in range(parameters["iterations"]):
                v = M * v
                v /= mp.norm(v)
            eigenvalue = mp.re((v.H * M * v)[0])
            found.append((eigenvalue, v))
            M = M - (M * v) * v.H
        found.sort(key=lambda pair: pair[0])
        parts = [
            problem.function(place, value)[0] * (v * v.H) for place, (value, v) in enumerate(found)
        ]
        return sum(parts[1:], parts[0])

    return central_differences(problem, value)


def _cholesky(problem: Problem, _: Parameters) -> mpmath.matrix:
    """`L⁻¹`, for whitening alone."""
    return central_differences(problem, lambda M: mp.inverse(mp.cholesky(M)))


FORMULAS: dict[str, Formula] = {
    "eigh": _rule(_analytic),
    "svd": _rule(_analytic),
    "svd-released": _rule(_analytic),
    "hybrid": _rule(_hybrid),
    "hybrid-eq10": _hybrid_eq10,
    "hybrid-loop": _rule(_hybrid),
    "taylor": _rule(_taylor),
    "pade": _rule(_pade),
    "clip": _rule(_clip),
    "trunc": _rule(_trunc),
    "lorentzian": _rule(_lorentzian),
    "lorentzian-relative": _rule(_lorentzian),
    "mask": _rule(_mask),
    "mask-checked": _mask_checked,
    "gauge-projected": _gauge_projected,
    "jitter": _jitter,
    "implicit": _rule(_implicit),
    "subspace": _rule(_subspace),
    "topn": _topn,
    "spectral": _spectral,
    "spectral-float64": _spectral,
    "cholesky": _cholesky,
    "pi": _power_iteration,
    "pi-released": _power_iteration,
    **ROOT_FORMULAS,
}
"""By method."""


def formula_gradients(
    method: Method,
    matrices: Numbers,
    weights: Numbers,
    function: SpectralFunction,
    epsilon: float,
) -> Numbers | None:
    """`∂Re⟨W, f(M)⟩/∂M` `(seeds, n, n)` by the method's own formula, rounded to float64.

    The `matrices` `(seeds, n, n)` are taken as they are, whatever precision they were rounded to;
    `epsilon` is the machine epsilon of that precision, which some rules use. NaN where the formula
    divides by zero, takes the root of a negative eigenvalue, or says that there is no derivative.
    None if the method has no formula or the function is not known here.
    """
    formula = FORMULAS.get(method.name)
    if formula is None:
        return None
    parameters = {one.name: getattr(method, one.name) for one in fields(method)}
    with mp.workdps(DIGITS):
        problems = [
            problem_of(M, W, function, seed, epsilon)
            for seed, (M, W) in enumerate(zip(matrices, weights, strict=True))
        ]
        known = [problem for problem in problems if problem is not None]
        if not known or len(known) < len(problems):
            return None
        return np.stack([_evaluated(formula, problem, parameters) for problem in known])


def _evaluated(formula: Formula, problem: Problem, parameters: Parameters) -> Numbers:
    try:
        G = formula(problem, parameters)
    except (ZeroDivisionError, NoDerivative, ValueError):  # the last of Cholesky's
        return np.full((problem.n, problem.n), np.nan)
    entries = [x for row in ((G + G.H) / 2).tolist() for x in row]
    if problem.hermitian:
        return np.array([complex(x) for x in entries]).reshape(problem.n, problem.n)
    if any(isinstance(x, mpc) for x in entries):  # the root of a negative eigenvalue
        return np.full((problem.n, problem.n), np.nan)
    return np.array([float(x) for x in entries]).reshape(problem.n, problem.n)
