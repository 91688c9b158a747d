"""The problem that a stability case poses: matrices, a loss, and the exact gradient."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eigbench.losses import LOSSES, exact_gradient, weights
from eigbench.methods.functions import SpectralFunction
from eigbench.runs.case import StabilityCase
from eigbench.runs.grids import FILE_SPECTRUM
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
    gradient: Floats
    """The exact gradient `(seeds, n, n)`."""

    def gradient_at(self, matrices: Floats) -> Floats:
        """The exact gradient at slightly different matrices, decomposed in float64."""
        return exact_gradient(decompose(matrices), self.function, self.W)


def pose(case: StabilityCase, user: UserMatrices) -> Problem:
    """The problem of `case`; `NotApplicable` if its spectrum and loss do not go together."""
    seeds = range(case.seed, case.seed + case.seeds)
    if case.spectrum == FILE_SPECTRUM:
        sample = decompose(user[case.d][: case.seeds])
    else:
        sample = _drawn(case.spectrum, case.d, case.gap, seeds)
    truth = sample.shifted(case.scale, case.epsilon)
    function = LOSSES[case.loss].function(truth.eigenvalues)
    W = weights(case.d, seeds)
    return Problem(truth, truth.matrices(), function, W, exact_gradient(truth, function, W))


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
