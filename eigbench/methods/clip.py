"""The analytic gradient with gaps that are not allowed to become small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, Parameter, Promise, require_positive
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Clip(Method):
    """`1/max(gap, t)` in place of `1/gap`, and 0 at a gap of 0; t is `threshold`, absolute.

    Exact for gaps from t on, and bounded by 1/t. So a matrix with a smaller scale than t has
    another gradient than the same matrix with a larger one, and at 0 the coefficient jumps.
    """

    name: ClassVar[str] = "clip"
    summary: ClassVar[str] = "eigh forward; gaps raised to a threshold backward"
    source: ClassVar[str] = "github.com/WeiWangTrento/Robust-Differentiable-SVD (t = 0.01)"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite"})
    converged: ClassVar[Mapping[str, Parameter]] = {"threshold": 1e-12}

    threshold: float = 0.01

    def __post_init__(self) -> None:
        require_positive("threshold", self.threshold)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½/max(gap, t)`, or 0."""
        gap = gaps_above(eigenvalues)
        return torch.where(gap > 0, 0.5 / gap.clamp(min=self.threshold), 0), None
