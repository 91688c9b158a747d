"""The paper's method: a decomposition forward, the power-iteration series backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.arithmetic import choose_arithmetic
from eigbench.methods.base import Eigenpairs, Method, require_iterations
from eigbench.methods.pairwise import pairwise_eigh
from eigbench.methods.series import geometric_series


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

    iterations: int = 19

    def __post_init__(self) -> None:
        require_iterations(self.iterations)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
        """`½c⁻` and `½(c⁺ − c⁻) = ½q^(K−1)/λ`, above the diagonal, where the column leads."""
        # Halved first, so that no difference of finite eigenvalues overflows.
        halved = eigenvalues * 0.5
        shifted = halved - _lowest_negative(halved)
        # At and below this K/λ would overflow: the eigenvalue counts as zero, its inverse as 0.
        smallest = 2 * self.iterations / torch.finfo(shifted.dtype).max
        inverse = torch.threshold(shifted, smallest, math.inf).reciprocal().unsqueeze(-2)
        # Below the diagonal the ratio exceeds 1; clamped, its powers stay finite.
        q = (shifted.unsqueeze(-1) * inverse).clamp(max=1)
        half_inverse = inverse * 0.25
        total, power = geometric_series(q, self.iterations - 1)
        mul = choose_arithmetic().mul
        return mul(total, half_inverse), mul(power, half_inverse)


def _lowest_negative(eigenvalues: Tensor) -> Tensor:
    """The lowest of ascending eigenvalues `(..., n)` where it is negative, else 0: `(..., 1)`."""
    return eigenvalues[..., :1].clamp(max=0)
