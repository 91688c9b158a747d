"""The diagonal Padé approximant of 1/(1 − q), which is 1/(1 − q) itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, require_count
from eigbench.methods.coefficients import above_diagonal, leading_ratios
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Pade(Method):
    """`(1/λ) P(q)/Q(q)` in place of `1/(λi − λj)`, with the [N/N] approximant of 1/(1 − q).

    λ leads the pair, q ≤ 1 is the ratio of the other eigenvalue to it, and N is `degree`. The
    equations for the N coefficients of Q are all the same one, `Σ b_j = −1`, since every Taylor
    coefficient of 1/(1 − q) is 1. Of their solutions this is the shortest, `b_j = −1/N`, which
    gives `P = Σ (1 − k/N) qᵏ`. With any of them `P = Q/(1 − q)`: the approximant is the analytic
    rule, and differs from it by rounding alone. At a tie it is what rounding leaves of Q: large,
    and meaningless.
    """

    name: ClassVar[str] = "pade"
    summary: ClassVar[str] = "eigh forward; Padé approximant of the analytic gradient backward"
    source: ClassVar[str] = "Song et al., ICCV 2021 ([50/50])"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "scale"})

    degree: int = 50

    def __post_init__(self) -> None:
        require_count("degree", self.degree)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½(1/λ) P(q)/Q(q)`."""
        q, half_inverse = leading_ratios(eigenvalues, 1)
        # Below the diagonal q is 1, where Q vanishes.
        q = q * above_diagonal(q, q.dtype)
        numerator, denominator = coefficients(self.degree)
        return half_inverse * _polynomial(numerator, q) / _polynomial(denominator, q), None


def coefficients(degree: int) -> tuple[list[float], list[float]]:
    """Those of P and of Q, from the constant on: the shortest solution of the Padé equations."""
    numerator = [1 - k / degree for k in range(degree + 1)]
    return numerator, [1.0] + [-1 / degree] * degree


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    """By Horner's rule, as the approximant is published: near q = 1 its Q cancels."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
