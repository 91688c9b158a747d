"""Exact gradients on one matrix, in float64, or in mpmath where float64 itself is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eigbench.diagnosis.facts import Facts, epsilon, symmetric_part
from eigbench.diagnosis.inputs import GivenMatrix, Upstream
from eigbench.losses import exact_gradient
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import Floats, Sample, decompose

LARGEST_IN_MPMATH = 16
"""Up to this size mpmath's decomposition takes a fraction of a second."""
DIGITS = 50
DOUBT = 1e-3
"""A gradient in float64 with a larger relative error cannot decide on an error of 1 %."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The eigenpairs `(1, n)`, `(1, n, n)` that exact gradients are made of."""

    sample: Sample
    arithmetic: str
    """"float64", or mpmath and its digits."""
    smallest_gap: float
    """Gaps below this, in M's unit, are not known well enough to divide by."""

    def gradient(self, function: SpectralFunction, W: Floats) -> Floats | None:
        """`∂⟨W, f(M)⟩/∂M` `(n, n)` (Daleckii–Krein); None where float64 cannot hold it."""
        return _in_float64(lambda: exact_gradient(self.sample, function, W[None])[0])

    def open(self, function: SpectralFunction) -> bool:
        """Whether every gap that the derivative of `function` divides by is known well enough."""
        eigenvalues = self.sample.eigenvalues[0]
        values = function.values(self.sample.eigenvalues)[0]
        rise = values[:, None] != values[None, :]
        gaps = np.abs(eigenvalues[:, None] - eigenvalues[None, :])
        return bool((gaps[rise] > self.smallest_gap).all())

    def gradient_by_pairs(self, upstream: Upstream, vectors: Floats) -> Floats | None:
        """`V Ĝ Vᵀ` `(n, n)` of gradients by eigenpairs, where `vectors` belong to `upstream`.

        None at a gap that is zero to rounding, where it does not exist or is a limit 0/0 that these
        gradients do not determine; and None where float64 cannot hold it.
        """
        eigenvalues, V = self.sample.eigenvalues[0], self.sample.eigenvectors[0]
        if len(eigenvalues) > 1 and np.diff(eigenvalues).min() <= self.smallest_gap:
            return None

        def composed() -> Floats:
            core = np.zeros_like(V)
            if upstream.by_eigenvectors is not None:
                A = V.T @ turned(upstream.by_eigenvectors, vectors, V)
                gap = eigenvalues[None, :] - eigenvalues[:, None]
                core = (A - A.T) / (2 * (gap + np.eye(len(V))))
            if upstream.by_eigenvalues is not None:
                core = core + np.diag(upstream.by_eigenvalues)
            product: Floats = V @ core @ V.T
            return product

        return _in_float64(composed)


def turned(by_vectors: Floats, vectors: Floats, V: Floats) -> Floats:
    """`∂L/∂V` at eigenvectors V, from `∂L/∂vectors` at other eigenvectors of the same matrix.

    The two differ by signs and, where eigenvalues tie, by the basis: V = vectors (vectorsᵀ V).
    """
    product: Floats = by_vectors @ (vectors.T @ V)
    return product


def truth_of(matrix: GivenMatrix, facts: Facts) -> Truth:
    """The eigenpairs of the symmetric part of a finite matrix."""
    M = symmetric_part(matrix.entries)
    in_doubt = facts.n * epsilon("float64") / DOUBT > facts.smallest_share
    if in_doubt and facts.n <= LARGEST_IN_MPMATH:
        return Truth(_by_mpmath(M), f"mpmath, {DIGITS} digits", epsilon("float64") * facts.largest)
    known = facts.n * epsilon("float64") / DOUBT * facts.largest
    return Truth(decompose(M[None]), "float64", known)


def _by_mpmath(M: Floats) -> Sample:
    """Eigenpairs as arrays of mpmath's numbers: NumPy's arithmetic keeps their digits."""
    import mpmath  # late; torch brings it along

    # Numbers of a context of its own keep its digits in all computations.
    context = mpmath.MPContext()
    context.dps = DIGITS
    values, vectors = context.eigsy(context.matrix(M.tolist()))
    sample = Sample(
        np.array(values.tolist(), dtype=object).reshape(1, -1),
        np.array(vectors.tolist(), dtype=object)[None],
    )
    order = np.argsort(sample.eigenvalues[0])
    return Sample(sample.eigenvalues[:, order], sample.eigenvectors[:, :, order])


def _in_float64(compute: Callable[[], Floats]) -> Floats | None:
    """What `compute` gives, in float64; None if anything on the way does not fit into that."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            found = np.asarray(compute(), dtype=np.float64)
    except FloatingPointError:
        return None
    return found if np.isfinite(found).all() else None
