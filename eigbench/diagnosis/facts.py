"""What a matrix is before anything is differentiated: spectrum, gaps, condition, symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eigbench.diagnosis.inputs import GivenMatrix
from eigbench.spectra import Floats, relative_gaps

PRECISIONS = ("float32", "float64")
"""What `torch.linalg.eigh` and every method take."""


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
    finite = np.isfinite(entries)
    if finite.all():
        asymmetry, values, closest, narrowest = _spectral_facts(entries)
        return Facts(*about, 0, (-1, -1), asymmetry, values, closest, narrowest)
    row, column = (int(index) for index in np.argwhere(~finite)[0])
    count = int((~finite).sum())
    return Facts(*about, count, (row, column), np.nan, np.empty(0), None, None)


def _spectral_facts(entries: Floats) -> tuple[float, Floats, Neighbours | None, Neighbours | None]:
    largest = np.abs(entries).max()
    scale = largest if largest > 0 else 1.0
    # Scaled, so that nothing overflows on the way.
    scaled = entries / scale
    asymmetry = float(np.abs(scaled - scaled.T).max())
    values = np.linalg.eigvalsh(symmetric_part(scaled))
    if len(values) < 2:
        return asymmetry, values * scale, None, None
    gaps, relative = np.diff(values), relative_gaps(values)
    norm = float(np.abs(values).max()) or 1.0

    def pair(lower: Any) -> Neighbours:
        gap, by_upper = float(gaps[lower]), float(relative[lower])
        return Neighbours(int(lower), gap * float(scale), by_upper, gap / norm)

    return asymmetry, values * scale, pair(relative.argmin()), pair(gaps.argmin())
