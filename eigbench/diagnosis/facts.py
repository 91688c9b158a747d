"""What is true of a matrix: its spectrum, gaps, condition and symmetry, and its exact gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eigbench.diagnosis.matrices import GivenMatrix, Upstream
from eigbench.losses import exact_gradient
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import Floats, Sample, decompose, relative_gaps

PRECISIONS = ("float32", "float64")
"""What `torch.linalg.eigh` and every method take."""
LARGEST_IN_MPMATH = 16
"""Up to this size mpmath's decomposition takes a fraction of a second."""
DIGITS = 50
DOUBT = 1e-3
"""A gradient in float64 with a larger relative error cannot decide on an error of 1 %."""


def epsilon(precision: str) -> float:
    """The rounding unit of a dtype: the distance from 1 to the next number."""
    return float(torch.finfo(getattr(torch, precision)).eps)


@dataclass(frozen=True)
class Neighbours:
    """Two neighbouring eigenvalues, λ[lower] and λ[lower + 1], ascending, counted from 0."""

    lower: int
    gap: float
    """Their difference, in M's own unit."""
    relative: float
    """The gap divided by the larger of the two (`eigbench.spectra.relative_gaps`)."""
    share: float
    """The gap divided by ‖M‖, the largest magnitude of an eigenvalue."""

    @property
    def name(self) -> str:
        """Such as "λ[3] and λ[4]"."""
        return f"λ[{self.lower}] and λ[{self.lower + 1}]"


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts of one matrix, in float64 whatever it was given in."""

    label: str
    dtype: str
    n: int
    not_finite: int
    """The number of entries that are NaN or infinite; if it is not 0, there is no spectrum."""
    first_not_finite: tuple[int, int]
    """Its row and column; (−1, −1) if there is none."""
    asymmetry: float
    """The largest difference of an entry and its mirror image, divided by the largest entry."""
    largest_entry: float
    """Its magnitude; NaN if M is not finite."""
    eigenvalues: Floats
    """`(n,)` of the symmetric part, ascending; `(0,)` if M is not finite."""
    closest: Neighbours | None
    """The pair with the smallest relative gap."""
    narrowest: Neighbours | None
    """The pair with the smallest gap, which decides how many digits of a gradient are left."""

    @property
    def decomposed(self) -> bool:
        """Whether there is a spectrum."""
        return len(self.eigenvalues) > 0

    @property
    def largest(self) -> float:
        """‖M‖, the largest magnitude of an eigenvalue."""
        return float(np.abs(self.eigenvalues).max(initial=0))

    @property
    def smallest_share(self) -> float:
        """The smallest gap divided by ‖M‖; infinite where there is no pair."""
        return np.inf if self.narrowest is None else self.narrowest.share

    @property
    def condition(self) -> float:
        """The largest divided by the smallest magnitude of an eigenvalue; infinite if that is 0."""
        smallest = float(np.abs(self.eigenvalues).min(initial=np.inf))
        return self.largest / smallest if smallest > 0 else np.inf

    def rank(self, precision: str) -> int:
        """The number of eigenvalues above the rounding error of ‖M‖ in this precision."""
        return int((np.abs(self.eigenvalues) > self.floor(precision)).sum())

    def floor(self, precision: str) -> float:
        """n·ε·‖M‖: a smaller eigenvalue counts as zero, as in NumPy's `matrix_rank`."""
        return self.n * epsilon(precision) * self.largest

    def tied(self, precision: str) -> bool:
        """Whether the narrowest gap is no wider than one rounding error of ‖M‖."""
        return self.smallest_share <= epsilon(precision)


def symmetric_part(entries: Floats) -> Floats:
    """`(M + Mᵀ)/2` `(n, n)`, rounding nothing where M is symmetric."""
    transposed = entries.T
    # Halves, so that the sum does not overflow; they would round the smallest numbers.
    return np.where(entries == transposed, entries, entries / 2 + transposed / 2)


def facts_of(matrix: GivenMatrix) -> Facts:
    """The facts of any square matrix, finite and symmetric or not."""
    entries = matrix.entries
    about = (matrix.label, matrix.dtype, len(entries))
    broken = np.argwhere(~np.isfinite(entries))
    if len(broken):
        row, column = map(int, broken[0])
        return Facts(*about, len(broken), (row, column), np.nan, np.nan, np.empty(0), None, None)
    largest = float(np.abs(entries).max())
    # Scaled, so that nothing overflows on the way.
    scale = largest or 1.0
    scaled = entries / scale
    asymmetry = float(np.abs(scaled - scaled.T).max())
    values = np.linalg.eigvalsh(symmetric_part(scaled))
    gaps, relative = np.diff(values), relative_gaps(values)
    norm = float(np.abs(values).max()) or 1.0

    def pair(smallest: Floats) -> Neighbours | None:
        if not len(smallest):
            return None
        at = int(smallest.argmin())
        gap = float(gaps[at])
        return Neighbours(at, gap * scale, float(relative[at]), gap / norm)

    pairs = (pair(relative), pair(gaps))
    eigenvalues = np.asarray(values * scale, dtype=np.float64)
    return Facts(*about, 0, (-1, -1), asymmetry, largest, eigenvalues, *pairs)


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
