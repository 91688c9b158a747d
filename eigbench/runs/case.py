"""A case: one frozen point of a suite's grid, with an id that is a hash of its content."""

from __future__ import annotations

import hashlib

import msgspec


class CaseBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of case has: an id that depends on nothing but its content."""

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits, the same on every machine."""
        content = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(content).hexdigest()[:16]


class StabilityCase(CaseBase, tag="stability", tag_field="kind", frozen=True, kw_only=True):
    """One method on one family of matrices, differentiated for a batch of seeds."""

    method: str
    parameters: dict[str, int]
    d: int
    spectrum: str
    gap: float | None
    """Relative eigengap; None where the spectrum has none to choose."""
    scale: float
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str
    matrices: str | None = None
    """For the user's own matrices: the start of the file's SHA-256."""

    @property
    def iterations(self) -> int | None:
        """K, for a method that has it."""
        return self.parameters.get("iterations")


FIGURE_1_POWERS = (1, 2, 4, 6, 8, 10, 14, 19, 24, 29, 40, 60, 80, 100)
"""The powers k at which a series case holds qᵏ, in the order of its record."""

COEFFICIENT_TERMS = (1, 2, 4, 9, 14, 19, 29, 100, 1000)
"""The K at which a series case holds errors of the sum, in the order of its record."""


class SeriesCase(CaseBase, tag="series", tag_field="kind", frozen=True, kw_only=True):
    """The geometric series at one ratio of eigenvalues (Table 1 and Figure 1 of the paper)."""

    ratio: float
    threshold: float
    dtype: str


Case = StabilityCase | SeriesCase
