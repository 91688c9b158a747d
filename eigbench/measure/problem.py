"""The problem that a stability case poses: matrices, a loss, and the exact gradient."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eigbench.kinds.stability import FILE_SPECTRUM, StabilityCase
from eigbench.losses import (
    LOSSES,
    cholesky_gradient,
    exact_gradient,
    inverse_cholesky,
    weights,
)
from eigbench.methods.base import CHOLESKY, Method
from eigbench.methods.functions import SpectralFunction, Whitening
from eigbench.spectra import SPECTRA, Floats, Sample, decompose, draw

UserMatrices = Mapping[int, Floats]
"""The user's own matrices by size: `(count, n, n)`, float64."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything in float64; `seeds` is the batch. The truth belongs to `truth`'s eigenpairs."""

    truth: Sample
    """Eigenpairs of `scale · M + ε I`."""
    matrices: Floats
    """`scale · M + ε I` `(seeds, n, n)`."""
    function: SpectralFunction
    W: Floats
    triangular: bool
    """Whether the whitening matrix is the inverse Cholesky factor, and not `M^(−1/2)`."""

    @functools.cached_property
    def gradient(self) -> Floats:
        """The exact gradient `(seeds, n, n)`, of the eigenpairs that are known."""
        if self.triangular:
            return cholesky_gradient(self.matrices, self.W)
        return exact_gradient(self.truth, self.function, self.W)

    @functools.cached_property
    def value(self) -> Floats:
        """The exact `f(M)` `(seeds, n, n)`."""
        if self.triangular:
            return inverse_cholesky(self.matrices)
        V, values = self.truth.eigenvectors, self.function.values(self.truth.eigenvalues)
        exact: Floats = (V * values[:, None, :]) @ V.swapaxes(-1, -2)
        return exact

    def gradient_at(self, matrices: Floats) -> Floats:
        """The exact gradient at slightly different matrices, decomposed in float64."""
        if self.triangular:
            return cholesky_gradient(matrices, self.W)
        return exact_gradient(decompose(matrices), self.function, self.W)


def pose(case: StabilityCase, user: UserMatrices, method: Method) -> Problem:
    """The problem of `case` for a method.

    `NotApplicable` if its spectrum and loss do not go together.
    """
    seeds = range(case.seed, case.seed + case.seeds)
    if case.spectrum == FILE_SPECTRUM:
        sample = decompose(user[case.d][: case.seeds])
    else:
        sample = _drawn(case.spectrum, case.d, case.gap, seeds)
    truth = sample.shifted(case.scale, case.epsilon)
    function = LOSSES[case.loss].function(truth.eigenvalues)
    W = weights(case.d, seeds)
    return posed(truth, function, W, method)


def posed(truth: Sample, function: SpectralFunction, W: Floats, method: Method) -> Problem:
    """The problem of known eigenpairs; a method may whiten by another matrix than `M^(−1/2)`."""
    triangular = isinstance(function, Whitening) and method.whitens_by == CHOLESKY
    return Problem(truth, truth.matrices(), function, W, triangular)


@functools.lru_cache(maxsize=32)
def _drawn(spectrum: str, d: int, gap: float | None, seeds: range) -> Sample:
    return draw(SPECTRA[spectrum], d, gap, seeds)


def rounding_noise(matrices: Floats, precision: float, seed: int) -> Floats:
    """`matrices` with every entry off by up to one rounding error, symmetrically."""
    rng = np.random.default_rng([seed, 2])
    noise = np.triu(rng.uniform(-1, 1, matrices.shape[-2:]))
    symmetric = noise + np.triu(noise, 1).T
    disturbed: Floats = matrices * (1 + precision * symmetric)
    return disturbed
