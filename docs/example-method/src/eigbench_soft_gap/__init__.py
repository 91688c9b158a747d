"""A method for eigbench: the analytic gradient with softened gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, Parameter, Promise, require_positive
from eigbench.methods.pairwise import pairwise_eigh

__all__ = ["SoftGap"]


@dataclass(frozen=True)
class SoftGap(Method):
    """`1/√(Δ² + η²)` in place of `1/Δ`, η being `eta` times the largest |λ| of each matrix.

    At most 1/η, and too small by the factor `1 − η²/(2Δ²)` where Δ ≫ η. A matrix of zeros has no
    scale: there the coefficients are 0.
    """

    name: ClassVar[str] = "soft-gap"
    summary: ClassVar[str] = "eigh forward; gaps softened by a relative width backward"
    source: ClassVar[str] = "an example of eigbench's documentation, from no paper"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale"})
    converged: ClassVar[Mapping[str, Parameter]] = {"eta": 1e-12}

    eta: float = 1e-3

    def __post_init__(self) -> None:
        require_positive("eta", self.eta)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½/√(Δ² + η²)`."""
        gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
        width = self.eta * eigenvalues.abs().amax(-1)[..., None, None]
        softened = torch.hypot(gap, width)
        return torch.where(softened > 0, 0.5 / softened, 0), None
