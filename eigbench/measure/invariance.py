"""What must not change a gradient, and a path on which two eigenvalues cross."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench.algorithm_1 import NEIGHBOUR_RATIO
from eigbench.axes import COMPLEX
from eigbench.errors import NotApplicable
from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.losses import LOSSES, weights
from eigbench.measure.differentiate import (
    Problem,
    UserMatrices,
    differentiate,
    make_problem,
    problem_of,
)
from eigbench.measure.measurement import Measurement, are_finite, as_list, float64, norms
from eigbench.measure.process import one_thread, torch_threads
from eigbench.methods.base import Method
from eigbench.methods.functions import Projector, SpectralFunction, Truncated
from eigbench.methods.registry import configured
from eigbench.spectra import Floats, Numbers, Sample, ascending, phases, random_orthogonal

NEIGHBOUR_SCALES = (1e-3, 1.0, 1e3)
"""Of the matrices that each one stands beside in a batch: itself, smaller and larger."""


@one_thread()
def measure_invariance(case: InvarianceCase, user: UserMatrices) -> Measurement:
    """Differentiate matrices alone and beside neighbours, in both precisions, on more threads.

    Every metric is a relative change of the gradient, one value a seed. Raises `NotApplicable` for
    a combination that does not make sense, and whatever the method raises.
    """
    method = configured(case.method, **case.parameters)
    problem = problem_of(case.stability, user, method)
    M = torch.tensor(problem.matrices, dtype=getattr(torch, case.dtype), device=case.device)
    alone = [_gradient(method, problem, M[i : i + 1], i)[0] for i in range(len(M))]
    scales = torch.tensor(NEIGHBOUR_SCALES, dtype=M.dtype, device=M.device)[:, None, None]
    own = NEIGHBOUR_SCALES.index(1.0)
    together = [_gradient(method, problem, M[i] * scales, i)[own] for i in range(len(M))]
    found = _gradients(method, problem, M)
    samples = {
        "neighbour_change": _relative(np.stack(together), np.stack(alone)),
        "repeat_change": _relative(_gradients(method, problem, M), found),
    }
    # Float32 against float64 on the same matrix, which is rounded to float32 first.
    single = M.to(torch.complex64 if M.is_complex() else torch.float32)
    double = single.to(torch.complex128 if M.is_complex() else torch.float64)
    rough = found if single.dtype == M.dtype else _gradients(method, problem, single)
    samples["precision_change"] = _relative(rough, _gradients(method, problem, double))
    if case.device == "cpu":
        with torch_threads(2):
            samples["thread_change"] = _relative(_gradients(method, problem, M), found)
    return Measurement({name: as_list(values) for name, values in samples.items()}, {})


def _gradients(method: Method, problem: Problem, M: Tensor) -> Numbers:
    """All seeds in one batch: `(seeds, n, n)`."""
    W = torch.tensor(problem.W, dtype=M.dtype, device=M.device)
    return float64(differentiate(method, M, problem.function, W).gradient)


def _gradient(method: Method, problem: Problem, M: Tensor, seed: int) -> Numbers:
    """Of a batch `M` `(b, n, n)` that belongs to one seed."""
    W = torch.tensor(problem.W[seed], dtype=M.dtype, device=M.device)
    function = _of_seed(problem.function, seed)
    return float64(differentiate(method, M, function, W).gradient)


def _of_seed(function: SpectralFunction, seed: int) -> SpectralFunction:
    """A projector or a truncation chooses for each seed; other functions are the same for all."""
    if isinstance(function, Projector):
        return Projector(function.chosen[seed])
    if isinstance(function, Truncated):
        return Truncated(function.function, function.kept[seed])
    return function


def _relative(found: Numbers, reference: Numbers) -> Floats:
    """`‖found − reference‖/‖reference‖` `(seeds,)`; NaN without a gradient, and 0/0 is 0."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference, size = norms(found - reference), norms(reference)
        change: Floats = np.where((difference == 0) & (size == 0), 0.0, difference / size)
    return change


DECADES = np.logspace(-1, -10, 19)
POSITIONS: Floats = np.concatenate([-DECADES, [0.0], DECADES[::-1]])
"""Half the relative distance of the two, from far on one side to far on the other."""


@one_thread()
def measure_path(case: PathCase) -> Measurement:
    """Differentiate at every position of the path, with one basis and one loss throughout.

    One value a position: where it is; the gradient's error; its component on the crossing pair as
    a multiple of the exact one; and how far it moved from the position before, beside how far
    the exact one did, both relative to the exact norm. The record also remembers what the method
    promises. Raises `NotApplicable` for a loss that has no gradient at the crossing, and whatever
    the method raises.
    """
    V: Numbers = random_orthogonal(case.d, case.seed)
    if case.dtype in COMPLEX:
        V = phases(case.d, case.seed)[:, None] * V
    eigenvalues, pair = _eigenvalues(case.d)
    method = configured(case.method, **case.parameters)
    count = min(len(POSITIONS), 1 + eigenvalues.size * case.d // MOST_ENTRIES)
    lower, upper = V[:, pair].conj(), V[:, pair + 1]
    before: Numbers = np.empty((0, *V.shape))
    exact_before: Numbers = before
    found: dict[str, list[float]] = {"position": as_list(POSITIONS)}
    for values in np.array_split(eigenvalues + case.epsilon, count):
        G, exact = _along(case, method, ascending(values, np.repeat(V[None], len(values), axis=0)))
        moves = (np.diff(G, axis=0, prepend=before), np.diff(exact, axis=0, prepend=exact_before))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            sizes = norms(exact)
            samples = {
                "gradient_finite": are_finite(G),
                "gradient_error": norms(G - exact) / sizes,
                "crossing_ratio": ((lower @ G @ upper) / (lower @ exact @ upper)).real,
                "moved": norms(moves[0]) / sizes[-len(moves[0]) :],
                "exact_moved": norms(moves[1]) / sizes[-len(moves[0]) :],
            }
        for name, some in samples.items():
            found.setdefault(name, []).extend(as_list(some))
        before, exact_before = G[-1:], exact[-1:]
    return Measurement(found, {"promises": sorted(method.promises)})


MOST_ENTRIES = 2**22
"""Of the matrices that are differentiated in one call, so that long paths of large ones fit."""


def _along(case: PathCase, method: Method, truth: Sample) -> tuple[Numbers, Numbers]:
    """The gradient and the exact one `(positions, d, d)` at a stretch of the path."""
    function = LOSSES[case.loss].function(truth.eigenvalues, case.epsilon)
    seeds = range(case.seed, case.seed + 1)
    W = weights(case.d, seeds, hermitian=case.dtype in COMPLEX)
    problem = make_problem(truth, function, W, method.whitens_by)
    dtype = getattr(torch, case.dtype)
    M, given = (torch.tensor(x, dtype=dtype, device=case.device) for x in (problem.matrices, W))
    return float64(differentiate(method, M, function, given).gradient), problem.gradient


def _eigenvalues(d: int) -> tuple[Floats, int]:
    """`(positions, d)` in the order of the basis, and the place of the first of the two.

    A geometric decay, in which one eigenvalue is replaced by two that cross at its place.
    """
    if d < 2:
        raise NotApplicable("two eigenvalues that cross: d must be 2 or more")
    pair = (d - 2) // 2
    base = np.repeat(
        NEIGHBOUR_RATIO ** np.arange(d - 1), [2 if i == pair else 1 for i in range(d - 1)]
    )
    moving: Any = np.zeros(d)
    moving[pair], moving[pair + 1] = 1, -1
    values: Floats = base * (1 + POSITIONS[:, None] * moving)
    return values, pair


def measurer(tools: Tools) -> Measure:
    """Measures invariance cases, of the user's own matrices too."""
    return functools.partial(measure_invariance, user=tools.user_matrices)


def path_measurer(_tools: Tools) -> Measure:
    """Measures path cases."""
    return measure_path
