"""What must not change a gradient: who stands beside it, in what precision, on how many threads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eigbench.kinds.invariance import InvarianceCase
from eigbench.measure.arrays import float64, norms
from eigbench.measure.differentiate import differentiate
from eigbench.measure.measurement import Measurement, as_list
from eigbench.measure.problem import Problem, UserMatrices, pose
from eigbench.measure.threads import torch_threads
from eigbench.methods.base import Method
from eigbench.methods.functions import Projector, SpectralFunction
from eigbench.methods.registry import configured
from eigbench.spectra import Floats

NEIGHBOUR_SCALES = (1e-3, 1.0, 1e3)
"""Of the matrices that each one stands beside in a batch: itself, smaller and larger."""


def measure_invariance(case: InvarianceCase, user: UserMatrices) -> Measurement:
    """Differentiate one case's matrices alone, in company, in both precisions, on more threads.

    Every metric is a relative change of the gradient, one value a seed. Raises `NotApplicable` for
    a combination that does not make sense, and whatever the method raises.
    """
    method = configured(case.method, **case.parameters)
    problem = pose(case.stability, user, method)
    M = torch.tensor(problem.matrices, dtype=getattr(torch, case.dtype), device=case.device)
    alone = np.stack([_gradient(method, problem, M[i : i + 1], i)[0] for i in range(len(M))])
    samples = {
        "neighbour_change": _in_company(method, problem, M, alone),
        "repeat_change": _relative(_gradients(method, problem, M), _gradients(method, problem, M)),
        "precision_change": _in_float64(method, problem, M),
    }
    if case.device == "cpu":
        samples["thread_change"] = _on_other_threads(method, problem, M)
    return Measurement({name: as_list(values) for name, values in samples.items()}, {})


def _gradients(method: Method, problem: Problem, M: Tensor) -> Floats:
    """All seeds in one batch: `(seeds, n, n)`."""
    W = torch.tensor(problem.W, dtype=M.dtype, device=M.device)
    return float64(differentiate(method, M, problem.function, W).gradient)


def _gradient(method: Method, problem: Problem, M: Tensor, seed: int) -> Floats:
    """Of a batch `M` `(b, n, n)` that belongs to one seed."""
    W = torch.tensor(problem.W[seed], dtype=M.dtype, device=M.device)
    function = _of_seed(problem.function, seed)
    return float64(differentiate(method, M, function, W).gradient)


def _of_seed(function: SpectralFunction, seed: int) -> SpectralFunction:
    """A projector chooses for each seed; the other functions are the same for all."""
    return Projector(function.chosen[seed]) if isinstance(function, Projector) else function


def _in_company(method: Method, problem: Problem, M: Tensor, alone: Floats) -> Floats:
    """Beside copies of itself at other scales."""
    scales = torch.tensor(NEIGHBOUR_SCALES, dtype=M.dtype, device=M.device)[:, None, None]
    own = NEIGHBOUR_SCALES.index(1.0)
    together = [_gradient(method, problem, M[i] * scales, i)[own] for i in range(len(M))]
    return _relative(np.stack(together), alone)


def _in_float64(method: Method, problem: Problem, M: Tensor) -> Floats:
    """Float32 against float64 on the same matrix, which is rounded to float32 first."""
    single = M.float()
    precise = _gradients(method, problem, single.double())
    return _relative(_gradients(method, problem, single), precise)


def _on_other_threads(method: Method, problem: Problem, M: Tensor) -> Floats:
    with torch_threads(1):
        one = _gradients(method, problem, M)
    with torch_threads(2):
        return _relative(_gradients(method, problem, M), one)


def _relative(found: Floats, reference: Floats) -> Floats:
    """`‖found − reference‖/‖reference‖` `(seeds,)`; NaN without a gradient, and 0/0 is 0."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference, size = norms(found - reference), norms(reference)
        change: Floats = np.where((difference == 0) & (size == 0), 0.0, difference / size)
    return change
