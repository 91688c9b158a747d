"""Every rule again, in 60 digits and by another route: what a method's own formula gives.

Nothing here shares code with `eigbench.methods`. A measured gradient is compared with this for
what its arithmetic loses, and with the exact gradient for what its rule is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import mpmath
import numpy as np
from mpmath import mp

from eigbench.measure.formulas import iterated, lyapunov, pairwise
from eigbench.measure.formulas.problem import DIGITS, NoDerivative, Problem, pose
from eigbench.methods.base import Method
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import Floats

LARGEST = 3
"""Matrices up to this size are evaluated: 60 digits are slow."""

Formula = Callable[[Problem, Mapping[str, Any]], mpmath.matrix]

FORMULAS: dict[str, Formula] = {
    **pairwise.FORMULAS,
    **iterated.FORMULAS,
    **lyapunov.FORMULAS,
}
"""By method. A method of somebody else's has none."""


def formula_gradients(
    method: Method,
    matrices: Floats,
    weights: Floats,
    function: SpectralFunction,
    epsilon: float,
) -> Floats | None:
    """`∂⟨W, f(M)⟩/∂M` `(seeds, n, n)` by the method's own formula, rounded to float64.

    The `matrices` `(seeds, n, n)` are taken as they are, whatever precision they were rounded to;
    `epsilon` is the machine epsilon of that precision, which some rules use. NaN where the formula
    divides by zero, or says that there is no derivative. None of a method or a function that is
    not known here.
    """
    formula = FORMULAS.get(method.name)
    if formula is None:
        return None
    parameters = {field.name: getattr(method, field.name) for field in fields(method)}
    with mp.workdps(DIGITS):
        problems = [
            pose(M, W, function, seed, epsilon)
            for seed, (M, W) in enumerate(zip(matrices, weights, strict=True))
        ]
        known = [problem for problem in problems if problem is not None]
        if not known or len(known) < len(problems):
            return None
        return np.stack([_evaluated(formula, problem, parameters) for problem in known])


def _evaluated(formula: Formula, problem: Problem, parameters: Mapping[str, Any]) -> Floats:
    try:
        G = formula(problem, parameters)
    except (ZeroDivisionError, NoDerivative):
        return np.full((problem.n, problem.n), np.nan)
    rounded: Floats = np.array([[float(x) for x in row] for row in ((G + G.T) / 2).tolist()])
    return rounded
