"""The paper's method: a decomposition forward, the power-iteration series backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.algorithm_1 import ITERATIONS
from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Parameter, Promise, require_count
from eigbench.methods.coefficients import choose_arithmetic, geometric_series, leading_ratios
from eigbench.methods.gpu import series_gradient
from eigbench.methods.no_gradient import differs_from_analytic
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Hybrid(Method):
    """Eq. 4 with deflation, in closed form: no loop over eigenvectors or iterations, batched.

    For a pair with leading eigenvalue λ and ratio q ≤ 1 of the other to it, the coefficients are
    `c⁺ = (1/λ) Σ_{k<K} qᵏ` and `c⁻ = (1/λ) Σ_{k<K−1} qᵏ`. Both are at most K/λ, so the gradient
    is bounded at any gap (Eq. 12, 13); both tend to `1/(λi − λj)` as K grows (Eq. 7).

    Two cases lie outside the paper. Where the leading eigenvalue of a pair is zero, power
    iteration has nothing to iterate on, and the pair's coefficients are 0. Where M has negative
    eigenvalues, the series is that of `M − λmin I`, which is positive semi-definite and has the
    same eigenvectors and gaps.
    """

    name: ClassVar[str] = "hybrid"
    summary: ClassVar[str] = "eigh forward; K-term power-iteration series backward, closed form"
    source: ClassVar[str] = "Wang et al., NeurIPS 2019, Eq. 4 and Algorithm 1"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale"})
    converged: ClassVar[Mapping[str, Parameter]] = {"iterations": 120}

    iterations: int = ITERATIONS

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
        """`½c⁻` and `½(c⁺ − c⁻) = ½q^(K−1)/λ`, above the diagonal, where the column leads."""
        q, half_inverse = leading_ratios(eigenvalues, self.iterations)
        minus, power = geometric_series(q, self.iterations - 1, half_inverse)
        return minus, choose_arithmetic().mul(power, half_inverse)

    def fused_gradient(
        self, eigenvalues: Tensor, V: Tensor, by_eigenvalues: Tensor, by_eigenvectors: Tensor
    ) -> Tensor | None:
        """The gradient by kernels of CUDA of its own; None where there are none."""
        return series_gradient(eigenvalues, V, by_eigenvalues, by_eigenvectors, self.iterations)

    def differs(self, eigenvalues: Tensor) -> Tensor:
        """`(...)`: whether K terms are too few for a second derivative."""
        with torch.no_grad():
            return differs_from_analytic(eigenvalues, *self.half_coefficients(eigenvalues))


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
    once: ClassVar[str | None] = (
        "hybrid-eq10 has no second derivative: it leaves out the gradient of the eigenvalues. "
        "Differentiate once, or choose another method, such as 'eigh'"
    )

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        values, vectors = super().eigh(M)
        # A gradient of exactly zero, which a product with 0 is not where ∂L/∂λ is infinite.
        never = torch.zeros_like(values, dtype=torch.bool)
        return Eigenpairs(torch.where(never, values, values.detach()), vectors)
