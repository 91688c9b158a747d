"""The methods whose gradient is that of an iteration: the iteration, and central differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from eigbench.measure.formulas.problem import Problem, central_differences

Parameters = Mapping[str, Any]


def _power_iteration(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """Eq. 2 of the paper with deflation, from the same starts."""
    n = problem.n
    drawn = np.random.default_rng(parameters["seed"]).standard_normal((n, n))

    def composed(M: mpmath.matrix) -> mpmath.matrix:
        found = []
        for place in range(n):
            v = mp.matrix(drawn[:, place].tolist())
            for _ in range(parameters["iterations"]):
                v = M * v
                v /= mp.norm(v)
            eigenvalue = (v.T * M * v)[0]
            found.append((eigenvalue, v))
            M = M - (M * v) * v.T
        found.sort(key=lambda pair: pair[0])
        parts = [
            problem.function(place, value)[0] * (v * v.T) for place, (value, v) in enumerate(found)
        ]
        return sum(parts[1:], parts[0])

    return central_differences(problem, composed)


def _newton_schulz(problem: Problem, parameters: Parameters) -> mpmath.matrix:
    """IterNorm's `P ← (3P − P³A)/2` for the inverse root, and `A P` for the root."""

    def composed(M: mpmath.matrix) -> mpmath.matrix:
        trace = sum(M[i, i] for i in range(problem.n))
        A, P = M / trace, mp.eye(problem.n)
        for _ in range(parameters["steps"]):
            P = (3 * P - P * P * P * A) / mpf(2)
        root = mp.sqrt(trace)
        return P / root if problem.inverse else A * P * root

    return central_differences(problem, composed)


def _cholesky(problem: Problem, _: Parameters) -> mpmath.matrix:
    """`L⁻¹`, for whitening alone."""
    return central_differences(problem, lambda M: mp.inverse(mp.cholesky(M)))


FORMULAS = {
    "cholesky": _cholesky,
    "pi": _power_iteration,
    "newton-schulz": _newton_schulz,
    "svd-newton": _newton_schulz,
}
