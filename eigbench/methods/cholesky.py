"""Whitening by the inverse of the Cholesky factor: no eigenpairs, and so no gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import CHOLESKY, HERMITIAN, Promise, WithoutEigenpairs, symmetric_part
from eigbench.methods.functions import SpectralFunction, Whitening
from eigbench.methods.roots import identity_like
from eigbench.phases import phase


@dataclass(frozen=True)
class Cholesky(WithoutEigenpairs):
    """`L⁻¹` with `M = LLᴴ`, which whitens as `M^(−1/2)` does, but is another matrix.

    Every W with `W M Wᴴ = I` is a rotation of every other. This one is triangular: the first
    channel is only scaled, and each further one is made independent of those before it, so the
    order of the channels matters. There is no gap in its gradient, which autograd takes through
    the factorisation (Murray, Differentiation of the Cholesky decomposition, 2016). M must be
    positive definite in its precision: torch raises where the factorisation breaks down.
    """

    name: ClassVar[str] = "cholesky"
    summary: ClassVar[str] = "whitens by the inverse Cholesky factor, not by M^(−1/2)"
    source: ClassVar[str] = "Siarohin et al., Whitening and coloring batch transform, ICLR 2019"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    whitens_by: ClassVar[str] = CHOLESKY
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`L⁻¹` `(..., n, n)` for `Whitening`; `NotApplicable` for another function."""
        reason = self.function_refusal(function)
        if reason is not None:
            raise NotApplicable(reason)
        with phase("decomposition"):
            L = torch.linalg.cholesky(symmetric_part(M))
        with phase("products"):
            identity = identity_like(M).expand_as(M)
            inverse: Tensor = torch.linalg.solve_triangular(L, identity, upper=False)
            return inverse

    def function_refusal(self, function: SpectralFunction) -> str | None:
        """The reason for everything but `Whitening`."""
        if isinstance(function, Whitening):
            return None
        return (
            "cholesky whitens by the inverse Cholesky factor, and has no function of the "
            "eigenvalues of M"
        )
