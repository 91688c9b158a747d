"""The paper's method as Eq. 10 has it: no gradient passes through the eigenvalues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs, Parameter
from eigbench.methods.hybrid import Hybrid


@dataclass(frozen=True)
class HybridEq10(Hybrid):
    """`hybrid` without `∂L/∂λ`: the gradient is that of the eigenvectors alone.

    Eq. 9 has both terms; above Eq. 10 the paper says that the second can be ignored, because the
    eigenvalue comes from a Rayleigh quotient. What is left out is exactly `V diag(∂L/∂λ) Vᵀ`, so
    the gradient is right only of a loss that does not depend on the eigenvalues.
    """

    name: ClassVar[str] = "hybrid-eq10"
    summary: ClassVar[str] = "hybrid without the gradient of the eigenvalues, as in Eq. 10"
    source: ClassVar[str] = "Wang et al., NeurIPS 2019, Eq. 9 and 10"
    # No number of iterations makes it exact.
    converged: ClassVar[Mapping[str, Parameter]] = {}

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        values, vectors = super().eigh(M)
        # A gradient of exactly zero, which a product with 0 is not where ∂L/∂λ is infinite.
        never = torch.zeros_like(values, dtype=torch.bool)
        return Eigenpairs(torch.where(never, values, values.detach()), vectors)
