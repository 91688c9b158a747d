"""What a matrix is before anything is differentiated: spectrum, gaps, condition, symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eigbench.diagnosis.subjects import Subject
from eigbench.spectra import Floats, relative_gaps

PRECISIONS = ("float32", "float64")
"""What `torch.linalg.eigh` and every method take."""


def epsilon(precision: str) -> float:
    """The rounding unit of a dtype: the distance from 1 to the next number."""
    return float(torch.finfo(getattr(torch, precision)).eps)


@dataclass(frozen=True)
class Pair:
    """Two neighbouring eigenvalues λ[lower] and λ[lower + 1], ascending, counted from 0."""

    lower: int
    gap: float
    """Their difference, in M's own unit."""
    relative: float
    """Their difference by the larger of them (`eigbench.spectra.relative_gaps`)."""
    share: float
    """Their difference by ‖M‖, the largest magnitude of an eigenvalue."""

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
    """How many entries are NaN or infinite; with any there is no spectrum."""
    first_not_finite: tuple[int, int]
    """Its row and column; (−1, −1) if there is none."""
    asymmetry: float
    """Largest difference of an entry and its mirror image, by the largest entry."""
    eigenvalues: Floats
    """`(n,)` of the symmetric part, ascending; `(0,)` if M is not finite."""
    closest: Pair | None
    """The pair with the smallest relative gap."""
    narrowest: Pair | None
    """The pair with the smallest gap by ‖M‖, which decides how many digits survive."""

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
        """The smallest gap by ‖M‖; infinite where there is no pair."""
        return np.inf if self.narrowest is None else self.narrowest.share

    @property
    def condition(self) -> float:
        """Largest by smallest magnitude of an eigenvalue; infinite of a singular matrix."""
        smallest = float(np.abs(self.eigenvalues).min(initial=np.inf))
        return self.largest / smallest if smallest > 0 else np.inf

    def rank(self, precision: str) -> int:
        """How many eigenvalues stand out of the rounding of ‖M‖ in this precision."""
        return int((np.abs(self.eigenvalues) > self.floor(precision)).sum())

    def floor(self, precision: str) -> float:
        """Below this magnitude an eigenvalue is rounding: n·ε·‖M‖, as NumPy's `matrix_rank`."""
        return self.n * epsilon(precision) * self.largest

    def tied(self, precision: str) -> bool:
        """Whether the narrowest gap is no wider than one rounding error of ‖M‖."""
        return self.smallest_share <= epsilon(precision)


def symmetric_part(entries: Floats) -> Floats:
    """`(M + Mᵀ)/2` `(n, n)`, rounding nothing where M is symmetric."""
    transposed = entries.T
    # Halves, so that the sum does not overflow; they would round the smallest numbers.
    return np.where(entries == transposed, entries, entries / 2 + transposed / 2)


def facts_of(subject: Subject) -> Facts:
    """The facts of one matrix: a matrix that is not finite or not symmetric has its facts too."""
    entries = subject.entries
    about = (subject.label, subject.dtype, len(entries))
    finite = np.isfinite(entries)
    if finite.all():
        asymmetry, values, closest, narrowest = _spectral_facts(entries)
        return Facts(*about, 0, (-1, -1), asymmetry, values, closest, narrowest)
    row, column = (int(index) for index in np.argwhere(~finite)[0])
    count = int((~finite).sum())
    return Facts(*about, count, (row, column), np.nan, np.empty(0), None, None)


def _spectral_facts(entries: Floats) -> tuple[float, Floats, Pair | None, Pair | None]:
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

    def pair(lower: Any) -> Pair:
        gap, by_upper = float(gaps[lower]), float(relative[lower])
        return Pair(int(lower), gap * float(scale), by_upper, gap / norm)

    return asymmetry, values * scale, pair(relative.argmin()), pair(gaps.argmin())
