"""Only the leading eigenvalues are kept; the others become machine epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Parameter, require_count
from eigbench.methods.coefficients import gaps_above
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class TopN(Method):
    """The `leading` largest eigenvalues as they are, machine epsilon for each of the others.

    So the pairs that come out are those of another matrix, for which the analytic rule is used.
    The replaced eigenvalues are constants and have no gradient. Between two of them the rule
    would be 1/0; a function of a matrix does not depend on the basis of an eigenspace, and the
    coefficient is 0. (The released program puts the largest finite coefficient there instead.)
    `leading` is by default the larger half; the released program drops the last 50, whatever the
    size. Epsilon is absolute: for an M of its scale the smallest kept eigenvalue stands in its
    place, so that the order stays.
    """

    name: ClassVar[str] = "topn"
    summary: ClassVar[str] = "eigh with all but the leading eigenvalues set to machine epsilon"
    source: ClassVar[str] = "Song et al., ICCV 2021 (SVD-TopN)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    converged: ClassVar[Mapping[str, Parameter]] = {"leading": 4096}

    leading: int | None = None

    def __post_init__(self) -> None:
        if self.leading is not None:
            require_count("leading", self.leading)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """The leading eigenpairs of symmetric `M` `(..., n, n)`, and what stands for the rest."""
        eigenvalues, V = pairwise_eigh(M, self)
        return Eigenpairs(self._replaced(eigenvalues), V)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½/gap` of the eigenvalues after their replacement, 0 between two replaced."""
        gap = gaps_above(self._replaced(eigenvalues))
        dropped = self._dropped(eigenvalues)
        both = dropped.unsqueeze(-1) & dropped.unsqueeze(-2)
        # Where both are replaced, the gap of 0 must not be divided by.
        return torch.where(both, 0, 0.5 / torch.where(both, 1, gap)), None

    def _dropped(self, eigenvalues: Tensor) -> Tensor:
        """`(n,)`: whether each of the ascending eigenvalues is replaced."""
        n = eigenvalues.shape[-1]
        return torch.arange(n, device=eigenvalues.device) < self._count(n)

    def _count(self, n: int) -> int:
        """How many of n eigenvalues are replaced."""
        return n // 2 if self.leading is None else max(n - self.leading, 0)

    def _replaced(self, eigenvalues: Tensor) -> Tensor:
        epsilon = torch.finfo(eigenvalues.dtype).eps
        first_kept = self._count(eigenvalues.shape[-1])
        least = eigenvalues[..., first_kept : first_kept + 1].detach().clamp(max=epsilon)
        return torch.where(self._dropped(eigenvalues), least, eigenvalues)
