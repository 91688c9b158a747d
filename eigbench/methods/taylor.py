"""The Taylor polynomial of 1/(1 − q): the series of the hybrid without its deflation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Parameter, Promise, require_count
from eigbench.methods.coefficients import geometric_series, leading_ratios
from eigbench.methods.pairwise import pairwise_eigh


@dataclass(frozen=True)
class Taylor(Method):
    """`(1/λ) Σ_{k≤K} qᵏ` in place of `1/(λi − λj)`, the same both ways.

    λ leads the pair, q ≤ 1 is the ratio of the other eigenvalue to it, and K is `degree`. The
    coefficient is at most (K + 1)/λ, and too small by the factor `1 − q^(K+1)`. Unlike `hybrid` it
    has no symmetric term, so it never turns a closing pair around. What lies outside the paper, a
    leading zero and negative eigenvalues, is as in `hybrid`.
    """

    name: ClassVar[str] = "taylor"
    summary: ClassVar[str] = "eigh forward; Taylor polynomial of the analytic gradient backward"
    source: ClassVar[str] = "Wang et al., Robust Differentiable SVD, TPAMI 2021 (K = 9)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})
    converged: ClassVar[Mapping[str, Parameter]] = {"degree": 120}

    degree: int = 9

    def __post_init__(self) -> None:
        require_count("degree", self.degree)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½(1/λ) Σ_{k≤K} qᵏ`."""
        q, half_inverse = leading_ratios(eigenvalues, self.degree + 1)
        return geometric_series(q, self.degree + 1, half_inverse)[0], None
