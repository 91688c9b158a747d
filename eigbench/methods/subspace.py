"""The gradient of the leading subspace, in which only the gap at the cut counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, require_count
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.pairwise import pairwise_eigh
from eigbench.methods.widest import AS_WIDE, rounding_zero


@dataclass(frozen=True)
class Subspace(Method):
    """`1/gap` between an eigenvalue inside and one outside of the leading subspace, else 0.

    A loss that sees the eigenvectors only through the span of the leading ones, as PCA does, has
    this gradient, whatever repeats on either side of the cut. For any other loss it is wrong: the
    rotation within each side is left out. `leading` is the dimension of the subspace; by default
    each matrix is cut at its widest relative gap, the lowest of those that are as wide to 0.1 %.
    Second derivatives raise.
    """

    name: ClassVar[str] = "subspace"
    summary: ClassVar[str] = "eigh forward; only pairs across the cut of the leading subspace count"
    source: ClassVar[str] = "Edelman, Arias and Smith, SIAM J. Matrix Anal. Appl. 20, 1998, §2.5"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"subspace", "scale"})

    # The gradient depends on every eigenvector, not on the span of the leading ones alone: by this
    # rule its own derivative would be wrong.
    once: ClassVar[str | None] = (
        "subspace has no second derivative: differentiate once, or choose another method, "
        "such as 'eigh'"
    )

    leading: int | None = None

    def __post_init__(self) -> None:
        if self.leading is not None:
            require_count("leading", self.leading)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½/gap` across the cut."""
        inside = self._inside(eigenvalues)
        across = inside.unsqueeze(-2) & ~inside.unsqueeze(-1)
        # Off the cut the gap may be anything, zero included.
        gap = torch.where(across, gaps_above(eigenvalues), 1)
        return torch.where(across, 0.5 / gap, 0), None

    def _inside(self, eigenvalues: Tensor) -> Tensor:
        """`(..., n)`: which of the ascending eigenvalues belong to the leading subspace."""
        n = eigenvalues.shape[-1]
        place = torch.arange(n, device=eigenvalues.device)
        if self.leading is not None:
            return (place >= n - self.leading).expand(eigenvalues.shape)
        if n < 2:
            return torch.ones_like(eigenvalues, dtype=torch.bool)
        # Between two zeros but for rounding there is no gap, however wide it is beside them.
        magnitudes = eigenvalues.abs()
        least = rounding_zero(n, torch.finfo(eigenvalues.dtype).eps)
        is_zero = magnitudes <= least * magnitudes.amax(-1, keepdim=True)
        values = torch.where(is_zero, 0, eigenvalues)
        upper = values[..., 1:]
        scale = torch.where(upper == 0, 1, upper.abs())
        gaps = (upper - values[..., :-1]) / scale
        as_wide = gaps >= AS_WIDE * gaps.amax(-1, keepdim=True)
        # The first of them; torch's argmax takes no booleans.
        return place > as_wide.int().argmax(-1, keepdim=True)
