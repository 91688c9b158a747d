"""Is the gradient finite and inside its bound, how far is it from the truth, does it reproduce?"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigbench.algorithm_1 import ITERATIONS
from eigbench.kinds.base import Measure, Tools
from eigbench.kinds.stability import StabilityCase
from eigbench.measure.differentiate import (
    LAST,
    Derivative,
    Problem,
    UserMatrices,
    differentiate,
    own_derivative,
    problem_of,
    rounding_noise,
)
from eigbench.measure.measurement import Measurement, are_finite, as_list, float64, norms
from eigbench.measure.process import one_thread
from eigbench.methods.base import SQUARE_ROOT, Eigenpairs, Method
from eigbench.methods.functions import Truncated
from eigbench.methods.registry import configured
from eigbench.spectra import Floats, Numbers, adjoint
from eigbench.truncation import REASONS, algorithm_1

LARGEST_DIFFERENCED = 8
"""Up to this d the derivative of a method's own value is taken by differences in float64."""


@one_thread()
def measure_stability(case: StabilityCase, user: UserMatrices) -> Measurement:
    """Differentiate one case's batch and compare with the exact gradient.

    Every metric holds one value a seed. Raises `NotApplicable` for a combination that does not
    make sense, and whatever the method raises.
    """
    method = configured(case.method, **case.parameters)
    problem = problem_of(case, user, method)
    given = _given(problem, case.dtype, case.seed, case.device)
    # A copy: whatever a method does to its input, the next one gets the same.
    derivative = differentiate(method, given.both.clone(), problem.function, given.W)

    first, second = _part(derivative, 0), _part(derivative, 1)
    # What is undefined, as the direction of a zero gradient is, becomes NaN and stays NaN.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return _metrics(case, method, given, (first, second))


@dataclass(frozen=True, eq=False)
class _Given:
    """What a method gets of a problem in one precision, and what follows from that alone."""

    problem: Problem
    both: Tensor
    """`(2, seeds, n, n)`: the matrices, and the same disturbed by rounding errors."""
    W: Tensor

    @property
    def M(self) -> Tensor:  # noqa: N802
        """The matrices `(seeds, n, n)`."""
        return self.both[0]

    @functools.cached_property
    def rounding_floor(self) -> Floats:
        """What rounding M to the case's dtype alone causes: no method can do better."""
        exact = self.problem.gradient
        rounded = self.problem.gradient_at(float64(self.M))
        floor: Floats = norms(rounded - exact) / self.problem.gradient_norm
        return floor


@functools.lru_cache(LAST)
def _given(problem: Problem, dtype: str, seed: int, device: str) -> _Given:
    kind = getattr(torch, dtype)
    disturbed = rounding_noise(problem.matrices, torch.finfo(kind).eps, seed)
    # Both in one call: what a method makes of the second tells what a rounding error changes.
    both = torch.tensor(np.stack([problem.matrices, disturbed]), dtype=kind, device=device)
    return _Given(problem, both, torch.tensor(problem.W, dtype=kind, device=device))


def _metrics(
    case: StabilityCase, method: Method, given: _Given, derivatives: tuple[Derivative, Derivative]
) -> Measurement:
    problem, M = given.problem, given.M
    first, second = derivatives
    G, disturbed, value = (float64(x) for x in (first.gradient, second.gradient, first.value))
    samples = {
        **_spectrum_metrics(problem),
        **_forward_metrics(M, first, problem, case.epsilon),
        "function_finite": _function_finite(problem, first),
        "function_error": norms(value - problem.value) / norms(problem.value),
        **_gradient_metrics(G, problem),
        **_bound_metrics(first, problem, case.iterations or ITERATIONS),
        # What a disturbance of M of the size of its rounding changes.
        "disturbed_finite": are_finite(disturbed),
        "disturbed_change": norms(disturbed - G) / norms(G),
        "rounding_floor": given.rounding_floor,
    }
    if case.dtype in ("float64", "complex128") and case.d <= LARGEST_DIFFERENCED:
        own = own_derivative(method, problem, M)
        if own is not None:
            samples["own_gradient_error"] = norms(G - own) / norms(own)
    labels: dict[str, list[str]] = {}
    if case.spectrum.startswith("lapack-") and first.pairs is not None:
        samples |= _gates(M, first.pairs)
    if isinstance(problem.function, Truncated):
        samples["pairs_kept"] = problem.function.kept.sum(axis=-1)
    if case.loss == "whitening":
        samples["condition_after"] = _condition_after(problem, first)
        if method.whitens_by != SQUARE_ROOT:
            labels["whitens_by"] = [method.whitens_by]
        if first.pairs is not None:
            kept = algorithm_1(M, first.pairs, case.epsilon)
            samples["rank_kept"] = kept.rank.cpu()
            labels["truncated_by"] = [REASONS[index] for index in kept.reason.tolist()]
    return Measurement({name: as_list(values) for name, values in samples.items()}, labels)


def _part(derivative: Derivative, index: int) -> Derivative:
    """One of the two batches `(seeds, n, n)` of a derivative `(2, seeds, n, n)`."""
    pairs = derivative.pairs
    return Derivative(
        pairs and Eigenpairs(*(part[index] for part in pairs)),
        derivative.value[index],
        derivative.gradient[index],
        derivative.by_eigenvalues[index],
        derivative.by_eigenvectors[index],
    )


def _spectrum_metrics(problem: Problem) -> dict[str, Any]:
    """What the matrices are: from the truth, the same for every method."""
    values = problem.truth.eigenvalues
    magnitudes = np.abs(values)
    metrics = {"condition_number": magnitudes.max(axis=-1) / magnitudes.min(axis=-1)}
    if values.shape[-1] > 1:
        gaps = problem.gaps
        metrics["smallest_relative_gap"] = gaps.min(axis=-1)
        metrics["mean_neighbour_ratio"] = (1 - gaps).mean(axis=-1)
    return metrics


def _forward_metrics(
    M: Tensor, derivative: Derivative, problem: Problem, epsilon: float
) -> dict[str, Any]:
    """Of the eigenpairs, in float64; without any, of the function of M that is computed."""
    if derivative.pairs is None:
        return {"forward_finite": are_finite(float64(derivative.value))}
    values, V, M64 = (float64(x) for x in (*derivative.pairs, M))
    finite = are_finite(values[:, None, :]) & are_finite(V)
    identity = np.eye(M64.shape[-1])
    truth = problem.truth.eigenvalues
    return {
        "forward_finite": finite,
        "forward_residual": norms(M64 @ V - V * values[:, None, :]) / norms(M64),
        "orthogonality_error": norms(adjoint(V) @ V - identity),
        "eigenvalue_error": np.abs(values - truth).max(axis=-1) / np.abs(truth).max(axis=-1),
        "eigenvalues_below_epsilon": (values < epsilon).sum(axis=-1),
    }


def _gates(M: Tensor, pairs: Eigenpairs) -> dict[str, Any]:
    """Residual and orthogonality error as a contest measures them: in n·ε of M's dtype, ‖·‖₁.

    gpu-mode/reference-kernels, `problems/linalg/eigh_py`; in float64, relative to ‖M‖₁.
    """
    values, V, M64 = (float64(x) for x in (*pairs, M))
    unit = M.shape[-1] * torch.finfo(M.dtype).eps

    def size(X: Floats) -> Floats:
        norm: Floats = np.abs(X).sum(axis=-2).max(axis=-1)
        return norm

    return {
        "gate_residual": size(M64 @ V - V * values[:, None, :])
        / (unit * np.maximum(size(M64), 1e-30)),
        "gate_orthogonality": size(V.swapaxes(-1, -2) @ V - np.eye(M.shape[-1])) / unit,
    }


def _function_finite(problem: Problem, derivative: Derivative) -> Any:
    """Whether f is defined at every computed eigenvalue: `λ^(−1/2)` is not at a λ ≤ 0."""
    if derivative.pairs is None:
        return are_finite(float64(derivative.value))
    values = problem.function.values(float64(derivative.pairs.eigenvalues))
    return np.isfinite(values).all(axis=-1)


def _condition_after(problem: Problem, derivative: Derivative) -> Floats:
    """Condition number of `S M Sᴴ` for the computed whitening matrix S: 1 if it whitens."""
    S = float64(derivative.value)
    usable = are_finite(S)
    whitened = np.where(usable[:, None, None], S @ problem.matrices @ adjoint(S), 0)
    singular = np.linalg.svd(whitened, compute_uv=False)
    condition: Floats = np.where(usable, singular[:, 0] / singular[:, -1], np.nan)
    return condition


def _gradient_metrics(G: Numbers, problem: Problem) -> dict[str, Any]:
    """Of the gradient, against the exact one."""
    exact = problem.gradient
    norm, exact_norm = norms(G), problem.gradient_norm
    metrics = {
        "gradient_finite": are_finite(G),
        "gradient_norm": norm,
        "exact_gradient_norm": exact_norm,
        "gradient_error": norms(G - exact) / exact_norm,
        "gradient_cosine": (G * exact.conj()).sum(axis=(-2, -1)).real / (norm * exact_norm),
        "gradient_asymmetry": norms(G - adjoint(G)) / norm,
    }
    # Of an exact tie the true basis and the method's are unrelated: it has no component.
    if exact.shape[-1] > 1 and problem.gaps.min() > 0:
        component, true_component = (_on_closing_pair(x, problem) for x in (G, exact))
        metrics["closing_pair_ratio"] = (component / true_component).real
    return metrics


def _on_closing_pair(G: Numbers, problem: Problem) -> Numbers:
    """`vaᴴ G vb` for the closest pair of eigenvectors: `(seeds,)`."""
    closest = problem.gaps.argmin(axis=-1)
    seeds = np.arange(len(G))
    V = problem.truth.eigenvectors
    lower, upper = V[seeds, :, closest], V[seeds, :, closest + 1]
    component: Numbers = np.einsum("bi,bij,bj->b", lower.conj(), G, upper)
    return component


def _bound_metrics(derivative: Derivative, problem: Problem, iterations: int) -> dict[str, Any]:
    """`(nK/λmin) max_i ‖∂L/∂v_i‖` of Eq. 12, plus `‖∂L/∂λ‖`, which the paper leaves out.

    Infinite where λmin ≤ 0, as the paper says of it before it adds ε.
    """
    n = problem.truth.eigenvalues.shape[-1]
    smallest = problem.truth.eigenvalues[:, 0]
    by_vectors = np.linalg.norm(float64(derivative.by_eigenvectors), axis=-2).max(axis=-1)
    by_values = np.linalg.norm(float64(derivative.by_eigenvalues), axis=-1)
    factor = np.full_like(smallest, np.inf)
    np.divide(n * iterations, smallest, out=factor, where=smallest > 0)
    bound = factor * by_vectors + by_values
    return {
        "gradient_bound": bound,
        "inside_bound": norms(float64(derivative.gradient)) <= bound,
    }


def measurer(tools: Tools) -> Measure:
    """Measures stability cases, of the user's own matrices too."""
    return functools.partial(measure_stability, user=tools.user_matrices)
