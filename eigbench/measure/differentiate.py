"""Problems whose exact gradient is known, and what a method makes of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from eigbench.axes import COMPLEX
from eigbench.errors import NotApplicable
from eigbench.kinds.stability import FILE_SPECTRUM, StabilityCase
from eigbench.losses import (
    LOSSES,
    cholesky_gradient,
    exact_gradient,
    inverse_cholesky,
    weights,
)
from eigbench.measure.measurement import float64, norms
from eigbench.methods.base import CHOLESKY, Eigenpairs, Method, reconstruct
from eigbench.methods.functions import Identity, Projector, SpectralFunction, Truncated, Whitening
from eigbench.spectra import (
    SPECTRA,
    Floats,
    Numbers,
    Sample,
    adjoint,
    decompose,
    draw,
    relative_gaps,
)

UserMatrices = Mapping[int, Numbers]
"""The user's own matrices by size: `(count, n, n)`, float64 or complex128."""


@dataclass(frozen=True, eq=False)
class Problem:
    """All in float64 or complex128; `seeds` is the batch. The truth is that of `truth`'s pairs."""

    truth: Sample
    """Eigenpairs of `scale · M + ε I`."""
    matrices: Numbers
    """`scale · M + ε I` `(seeds, n, n)`."""
    function: SpectralFunction
    W: Numbers
    triangular: bool
    """Whether the whitening matrix is the inverse Cholesky factor, and not `M^(−1/2)`."""

    @functools.cached_property
    def gradient(self) -> Numbers:
        """The exact gradient `(seeds, n, n)`, of the eigenpairs that are known."""
        if self.triangular:
            return cholesky_gradient(self.matrices, self.W)
        return exact_gradient(self.truth, self.function, self.W)

    @functools.cached_property
    def value(self) -> Numbers:
        """The exact `f(M)` `(seeds, n, n)`."""
        if self.triangular:
            return inverse_cholesky(self.matrices)
        V, values = self.truth.eigenvectors, self.function.values(self.truth.eigenvalues)
        exact: Numbers = (V * values[:, None, :]) @ adjoint(V)
        return exact

    @functools.cached_property
    def gradient_norm(self) -> Floats:
        """The Frobenius norm of the exact gradient `(seeds,)`."""
        return norms(self.gradient)

    @functools.cached_property
    def gaps(self) -> Floats:
        """The relative gaps of the eigenvalues `(seeds, n − 1)`."""
        gaps: Floats = relative_gaps(self.truth.eigenvalues)
        return gaps

    def gradient_at(self, matrices: Numbers) -> Numbers:
        """The exact gradient at slightly different matrices, decomposed in float64."""
        if self.triangular:
            return cholesky_gradient(matrices, self.W)
        return exact_gradient(decompose(matrices), self.function, self.W)


def problem_of(case: StabilityCase, user: UserMatrices, method: Method) -> Problem:
    """The problem of `case` for a method.

    `NotApplicable` if its spectrum, its dtype and its loss do not go together.
    """
    seeds = range(case.seed, case.seed + case.seeds)
    hermitian = case.dtype in COMPLEX
    if case.spectrum == FILE_SPECTRUM:
        own = user[case.d][: case.seeds]
        if np.iscomplexobj(own) and not hermitian:
            raise NotApplicable(f"the matrices are complex: choose {' or '.join(COMPLEX)}")
        sample = _decomposed(own.tobytes(), own.dtype, case.d)
    else:
        sample = _drawn(case.spectrum, case.d, case.gap, seeds, hermitian)
    truth = _shifted(sample, case.scale, case.epsilon)
    return _problem(truth, case.epsilon, case.loss, seeds, method.whitens_by, hermitian)


LAST = 1
"""Problems that are kept: a plan has the methods of one after the other. No more are, since one of
large matrices takes a lot of memory."""


@functools.lru_cache(LAST)
def _shifted(sample: Sample, scale: float, epsilon: float) -> Sample:
    return sample.shifted(scale, epsilon)


@functools.lru_cache(LAST)
def _problem(  # noqa: PLR0913, PLR0917 - what it is known by
    truth: Sample,
    epsilon: float,
    loss: str,
    seeds: range,
    whitens_by: str,
    hermitian: bool,  # noqa: FBT001
) -> Problem:
    function = LOSSES[loss].function(truth.eigenvalues, epsilon)
    W = weights(truth.eigenvalues.shape[-1], seeds, hermitian=hermitian)
    return make_problem(truth, function, W, whitens_by)


@functools.lru_cache(LAST)
def _decomposed(matrices: bytes, dtype: np.dtype[Any], d: int) -> Sample:
    """The eigenpairs of the user's own matrices, which are known by their content."""
    return decompose(np.frombuffer(matrices, dtype).reshape(-1, d, d))


def make_problem(truth: Sample, function: SpectralFunction, W: Numbers, whitens_by: str) -> Problem:
    """The problem of known eigenpairs; a method may whiten by another matrix than `M^(−1/2)`."""
    triangular = isinstance(function, Whitening) and whitens_by == CHOLESKY
    return Problem(truth, truth.matrices(), function, W, triangular)


@functools.lru_cache(maxsize=32)
def _drawn(
    spectrum: str,
    d: int,
    gap: float | None,
    seeds: range,
    hermitian: bool,  # noqa: FBT001
) -> Sample:
    return draw(SPECTRA[spectrum], d, gap, seeds, hermitian=hermitian)


def rounding_noise(matrices: Numbers, precision: float, seed: int) -> Numbers:
    """`matrices` with every entry off by up to one rounding error, symmetrically."""
    rng = np.random.default_rng([seed, 2])
    noise = np.triu(rng.uniform(-1, 1, matrices.shape[-2:]))
    symmetric = noise + np.triu(noise, 1).T
    disturbed: Numbers = matrices * (1 + precision * symmetric)
    return disturbed


@dataclass(frozen=True)
class Derivative:
    """What a method gives for `(..., n, n)`, and the loss's gradients, all detached."""

    pairs: Eigenpairs | None
    """None for a method that computes functions without eigenpairs."""
    value: Tensor
    """`f(M)` `(..., n, n)`."""
    gradient: Tensor
    """`∂L/∂M` `(..., n, n)`."""
    by_eigenvalues: Tensor
    """`∂L/∂λ` `(..., n)`: of the loss by the pairs alone, whatever the method.

    By those that `torch.linalg.eigh` finds where the method has none.
    """
    by_eigenvectors: Tensor
    """`∂L/∂V` `(..., n, n)`, likewise."""


def differentiate(method: Method, M: Tensor, function: SpectralFunction, W: Tensor) -> Derivative:
    """Differentiate `Re⟨W, f(M)⟩` by `M` `(..., n, n)` through `method`.

    Through its eigenpairs, which are those of the same call, or through `matrix_function` if only
    functions of M have a gradient. Raises `NotApplicable` if the method cannot take `M`, and
    whatever the method raises.
    """
    reason = method.refusal(M) or method.function_refusal(function)
    if reason is not None:
        raise NotApplicable(reason)
    M = M.detach().requires_grad_()
    function = function.like(M)
    pairs, value = _evaluated(method, M, function)
    (gradient,) = torch.autograd.grad((W.conj() * value).sum().real, M)
    found = None if pairs is None else Eigenpairs(*(part.detach() for part in pairs))
    reference = found or Eigenpairs(*torch.linalg.eigh(M.detach()))
    by_pairs = _by_pairs(reference, function, W)
    return Derivative(found, value.detach(), gradient, *by_pairs)


def _evaluated(
    method: Method, M: Tensor, function: SpectralFunction
) -> tuple[Eigenpairs | None, Tensor]:
    """The method's eigenpairs, if it has any, and what it computes for `f(M)`."""
    pairs = method.eigh(M) if method.decomposes else None
    if pairs is None or method.differentiates == "functions":
        return pairs, method.matrix_function(M, function)
    return pairs, reconstruct(pairs, function)


STEP = 1e-3
"""Of the differences, as a share of the distance over which f(M) changes.

The five points leave out `(59/30) STEP⁴`, 2e-12, of the derivative of λ^(−1/2). Rounding adds about
`eps ‖M‖/step`, 2e-13 where M is well conditioned; a larger step gains on one, loses on the other.
"""
RESOLUTION = 1e-6
"""Where rounding alone makes a larger relative error nothing is measured."""


def own_derivative(method: Method, problem: Problem, M: Tensor) -> Numbers | None:
    """The derivative `(seeds, n, n)` of what `method` computes for Re⟨W, f(M)⟩, right or wrong.

    By central differences of fourth order along the n(n+1)/2 symmetric directions, or the n² of
    complex M, all in one call; `M` is in float64 or complex128. None where the differences cannot
    resolve it: M's condition number, or a gap at which the loss cuts, is too extreme.
    """
    step = STEP * _distance(problem.function, problem.truth.eigenvalues)
    size = np.abs(problem.truth.eigenvalues).max(axis=-1)
    if not (step * RESOLUTION > np.finfo(np.float64).eps * size).all():
        return None
    directions = directions_of(M.shape[-1], hermitian=M.is_complex())
    moves = np.array([1.0, -1.0, 2.0, -2.0])[:, None, None] * step
    moved = M + torch.tensor(moves[..., None, None] * directions[:, None]).to(M)
    nothing = torch.empty(0)
    # As a method is called to be differentiated; but nothing is kept for a backward pass.
    with saved_tensors_hooks(lambda _: nothing, lambda _: nothing):
        _, value = _evaluated(method, moved.requires_grad_(), problem.function.like(M))
    at = float64((torch.tensor(problem.W).to(M).conj() * value).sum((-2, -1)).real)
    slopes = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * step)
    # Along (e_ij + e_ji)/2 the slope is that entry itself; along i(e_ij − e_ji)/2 its imaginary
    # part.
    derivative: Numbers = np.einsum("ks,kij->sij", slopes, np.sign(directions))
    return derivative


def _distance(function: SpectralFunction, eigenvalues: Floats) -> Floats:
    """How far M `(seeds,)` is from where f(M) has no derivative: a zero, or a closed gap."""
    if isinstance(function, Projector):
        return _gap_at_cut(function.chosen, eigenvalues)
    magnitudes = np.abs(eigenvalues)
    if isinstance(function, Truncated):
        kept = np.where(function.kept > 0, magnitudes, np.inf).min(axis=-1)
        nearest: Floats = np.minimum(kept, _gap_at_cut(function.kept, eigenvalues))
        return nearest
    smooth = isinstance(function, Identity)
    distance: Floats = magnitudes.max(axis=-1) if smooth else magnitudes.min(axis=-1)
    return distance


def _gap_at_cut(chosen: Floats, eigenvalues: Floats) -> Floats:
    """The smallest distance of a chosen eigenvalue from another `(seeds,)`; infinite without."""
    apart = np.abs(eigenvalues[:, :, None] - eigenvalues[:, None, :])
    across = chosen[:, :, None] != chosen[:, None, :]
    gap: Floats = np.where(across, apart, np.inf).min(axis=(-2, -1))
    return gap


def directions_of(n: int, *, hermitian: bool = False) -> Numbers:
    """`(n(n+1)/2, n, n)`: e_ii, and (e_ij + e_ji)/2 for i < j; then i(e_ij − e_ji)/2 if complex."""
    rows, columns = np.triu_indices(n)
    directions: Numbers = np.zeros((len(rows), n, n))
    place = np.arange(len(rows))
    directions[place, rows, columns] += 0.5
    directions[place, columns, rows] += 0.5
    if hermitian:
        turned = 1j * (np.triu(directions) - np.tril(directions))
        directions = np.concatenate([directions, turned[rows < columns]])
    return directions


def _by_pairs(pairs: Eigenpairs, function: SpectralFunction, W: Tensor) -> tuple[Tensor, ...]:
    """`∂L/∂λ` and `∂L/∂V` of `Re⟨W, V diag(f(λ)) Vᴴ⟩`, by the pairs as independent variables."""
    leaves = Eigenpairs(*(part.clone().requires_grad_() for part in pairs))
    loss = (W.conj() * reconstruct(leaves, function)).sum().real
    # The loss of a projector does not depend on the eigenvalues.
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
