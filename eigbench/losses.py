"""Losses whose exact gradient is known at any gap, and that exact gradient.

Each loss is Re⟨W, f(M)⟩ with a spectral function f and a fixed Hermitian W, and so does not depend
on the sign, the phase or the basis of eigenvectors. Which eigenpairs a projector or a truncation
takes is decided once, by the exact eigenvalues, for every method. The gradient is `V (F ∘ VᴴWV) Vᴴ`
with f's divided differences F (Daleckii–Krein), evaluated here in float64 from eigenpairs that are
known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigbench.algorithm_1 import ENERGY_KEPT
from eigbench.errors import NotApplicable
from eigbench.methods.functions import (
    Identity,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
    Whitening,
)
from eigbench.methods.widest import AS_WIDE, rounding_zero
from eigbench.spectra import Floats, Numbers, Sample, adjoint, relative_gaps

OPEN_GAP = 1e-3
"""From this relative gap on a loss may treat two eigenvalues as well separated."""


@dataclass(frozen=True)
class Loss:
    """A named loss; `choose` picks its spectral function for eigenvalues `(seeds, n)` and ε."""

    name: str
    choose: Callable[[Floats, float], SpectralFunction]

    def function(self, eigenvalues: Floats, epsilon: float = 0.0) -> SpectralFunction:
        """The spectral function for ascending eigenvalues `(seeds, n)` of `scale · M + ε I`.

        `NotApplicable` where the loss has no derivative at them.
        """
        return self.choose(eigenvalues, epsilon)


def weights(d: int, seeds: range, *, hermitian: bool = False) -> Numbers:
    """One random W for each seed, of Frobenius norm 1: `(seeds, d, d)`.

    Symmetric, or complex if `hermitian`. Rounded to float32, so that every precision differentiates
    the same loss.
    """
    parts = 2 if hermitian else 1
    drawn = np.stack(
        [np.random.default_rng([seed, d, 1]).standard_normal((parts, d, d)) for seed in seeds]
    )
    some: Numbers = drawn[:, 0] + 1j * drawn[:, 1] if hermitian else drawn[:, 0]
    symmetric = some + adjoint(some)
    norms = np.linalg.norm(symmetric, axis=(-2, -1), keepdims=True)
    narrow = np.complex64 if hermitian else np.float32
    rounded: Numbers = (symmetric / norms).astype(narrow).astype(some.dtype)
    return rounded


def exact_gradient(sample: Sample, function: SpectralFunction, W: Numbers) -> Numbers:
    """`∂Re⟨W, f(M)⟩/∂M` `(seeds, n, n)` from known eigenpairs, in float64."""
    V = sample.eigenvectors
    core = function.divided_differences(sample.eigenvalues) * (adjoint(V) @ W @ V)
    gradient: Numbers = V @ core @ adjoint(V)
    return gradient


def cholesky_gradient(matrices: Numbers, W: Numbers) -> Numbers:
    """`∂Re⟨W, L⁻¹⟩/∂M` `(seeds, n, n)` with `M = LLᴴ`, in float64.

    `dL = L Φ(L⁻¹ dM L⁻ᴴ)`, where Φ takes the lower triangle and half of the diagonal (Murray,
    Differentiation of the Cholesky decomposition, 2016, Eq. 8), and so `dL⁻¹ = −Φ(…) L⁻¹`.
    """
    inverse = inverse_cholesky(matrices)
    half = np.tril(W @ adjoint(inverse))
    places = np.arange(half.shape[-1])
    half[..., places, places] /= 2
    gradient = -(adjoint(inverse) @ half @ inverse)
    symmetric: Numbers = (gradient + adjoint(gradient)) / 2
    return symmetric


def inverse_cholesky(matrices: Numbers) -> Numbers:
    """`L⁻¹` `(seeds, n, n)` with `M = LLᴴ`, in float64."""
    inverse: Numbers = np.linalg.inv(np.linalg.cholesky(matrices))
    return inverse


def _whitening(eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, M^(−1/2)⟩: ZCA whitening."""
    if eigenvalues.min() <= 0:
        raise NotApplicable("M + εI has an eigenvalue ≤ 0: M^(−1/2) does not exist")
    return Whitening()


def _truncated(eigenvalues: Floats, epsilon: float) -> SpectralFunction:
    """⟨W, S⟩, S the part of M^(−1/2) in the pairs that Algorithm 1 keeps of the exact ones."""
    kept = kept_by_algorithm_1(eigenvalues, epsilon)
    if np.min(eigenvalues[kept]) <= 0:
        raise NotApplicable("the largest eigenvalue is ≤ 0: nothing is left after truncation")
    widths = np.diff(eigenvalues, axis=-1)[np.diff(kept, axis=-1)]
    tolerance = _tolerance(eigenvalues)[~kept[:, 0], 0]
    if (widths <= tolerance).any():
        raise NotApplicable("the truncation cuts through equal eigenvalues: there is no derivative")
    return Truncated(Whitening(), kept.astype(np.float64))


def kept_by_algorithm_1(eigenvalues: Floats, epsilon: float) -> NDArray[np.bool_]:
    """Which pairs Algorithm 1 keeps of exact, ascending eigenvalues `(seeds, n)`: `(seeds, n)`.

    From the largest down to before the first with λ ≤ ε, or at which the kept share of the trace
    reaches 1 − 1e-4; at least one. So the last pair is always dropped, at which the share is 1. An
    eigenvalue equal to ε but for n·eps·‖M‖, the rounding of a float64 decomposition, counts as
    equal: it is a zero that ε was added to. The Rayleigh quotients of exact pairs stop nothing.
    """
    descending = eigenvalues[:, ::-1]
    share = np.cumsum(descending, axis=-1) / np.sum(descending, axis=-1, keepdims=True)
    goes_on = (descending > epsilon + _tolerance(eigenvalues)) & (share < ENERGY_KEPT)
    goes_on[:, 0] = True
    kept: NDArray[np.bool_] = np.logical_and.accumulate(goes_on, axis=-1)[:, ::-1]
    return kept


def _tolerance(eigenvalues: Floats) -> Floats:
    """`n·eps·‖M‖` `(seeds, 1)`."""
    zero = rounding_zero(eigenvalues.shape[-1], float(np.finfo(np.float64).eps))
    tolerance: Floats = zero * np.abs(eigenvalues).max(axis=-1, keepdims=True)
    return tolerance


def _pooling(eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, M^(1/2)⟩: second-order pooling."""
    if eigenvalues.min() <= 0:
        raise NotApplicable("M + εI has an eigenvalue ≤ 0: M^(1/2) has no derivative")
    return SquareRoot()


def _reconstruction(_eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, V diag(λ) Vᵀ⟩, whose gradient is W."""
    return Identity()


def _subspace(eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, P⟩, P the projector on the leading eigenvectors, cut at the widest relative gap."""
    gaps = _gaps(eigenvalues)
    cut = _widest(gaps)
    _require_open(np.take_along_axis(gaps, cut[:, None], axis=-1), "no gap at which to cut")
    return Projector((np.arange(eigenvalues.shape[-1]) > cut[:, None]).astype(np.float64))


def _eigenvector(eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, vvᵀ⟩, v the eigenvector that is best separated from both neighbours."""
    gaps = _gaps(eigenvalues)
    beyond = np.full((len(gaps), 1), np.inf)
    below, above = np.hstack([beyond, gaps]), np.hstack([gaps, beyond])
    isolation = np.minimum(below, above)
    _require_open(isolation.max(axis=-1), "no eigenvector is well separated")
    return _single(eigenvalues, _widest(isolation))


def _closing_eigenvector(eigenvalues: Floats, _epsilon: float) -> SpectralFunction:
    """⟨W, vvᵀ⟩, v the upper one of the closest pair, whose own derivative grows as 1/gap."""
    gaps = _gaps(eigenvalues)
    if gaps.min() <= 0:
        raise NotApplicable("at a gap of 0 a single eigenvector of the pair has no derivative")
    return _single(eigenvalues, gaps.argmin(axis=-1) + 1)


def _gaps(eigenvalues: Floats) -> Any:
    if eigenvalues.shape[-1] < 2:
        raise NotApplicable("a gap needs two eigenvalues: d must be 2 or more")
    return relative_gaps(eigenvalues)


def _widest(gaps: Any) -> Any:
    """The first of the widest, where some are as wide but for rounding: `(seeds,)`."""
    return (gaps >= AS_WIDE * gaps.max(axis=-1, keepdims=True)).argmax(axis=-1)


def _require_open(widest: Any, complaint: str) -> None:
    if np.min(widest) < OPEN_GAP:
        raise NotApplicable(f"{complaint}: the widest relative gap is {np.min(widest):.1e}")


def _single(eigenvalues: Floats, index: Any) -> Projector:
    return Projector((np.arange(eigenvalues.shape[-1]) == index[:, None]).astype(np.float64))


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("whitening", _whitening),
        Loss("whitening-truncated", _truncated),
        Loss("square-root", _pooling),
        Loss("subspace", _subspace),
        Loss("reconstruction", _reconstruction),
        Loss("eigenvector", _eigenvector),
        Loss("closing-eigenvector", _closing_eigenvector),
    )
}
