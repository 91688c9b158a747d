"""The analytic gradient with coefficients that are not allowed to become large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, Parameter, Promise, require_positive
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Trunc(Method):
    """`1/gap` clipped to T, `largest`, which is absolute; T also at a gap of 0.

    The released T is so large that in float32 nothing but exact ties meets it.
    """

    name: ClassVar[str] = "trunc"
    summary: ClassVar[str] = "eigh forward; analytic gradient clipped to a largest 1/gap backward"
    source: ClassVar[str] = "Song et al., ICCV 2021 (SVD-Trunc, T = 1e10)"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite"})
    converged: ClassVar[Mapping[str, Parameter]] = {"largest": 1e10}

    largest: float = 1e10

    def __post_init__(self) -> None:
        require_positive("largest", self.largest)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½ min(1/gap, T)`."""
        return gaps_above(eigenvalues).reciprocal().clamp(max=self.largest) / 2, None
