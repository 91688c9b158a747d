"""The analytic gradient with a gap or a coefficient that is kept within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Method,
    Parameter,
    Promise,
    require_positive,
)
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
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
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


@dataclass(frozen=True)
class Trunc(Method):
    """`1/gap` clipped to T, `largest`, which is absolute; T also at a gap of 0.

    The released T is so large that in float32 nothing but exact ties meets it.
    """

    name: ClassVar[str] = "trunc"
    summary: ClassVar[str] = "eigh forward; analytic gradient clipped to a largest 1/gap backward"
    source: ClassVar[str] = "Song et al., ICCV 2021 (SVD-Trunc, T = 1e10)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite"})
    converged: ClassVar[Mapping[str, Parameter]] = {"largest": 1e10}

    largest: float = 1e10

    def __post_init__(self) -> None:
        require_positive("largest", self.largest)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½ min(1/gap, T)`."""
        return gaps_above(eigenvalues).reciprocal().clamp(max=self.largest) / 2, None


@dataclass(frozen=True)
class Lorentzian(Method):
    """`Δ/(Δ² + η²)` in place of `1/Δ`, η being `eta`.

    At most ½/η, and 0 at a gap of 0, smoothly. For Δ ≫ η it is too small by the factor
    `1 − η²/Δ²`. η is absolute, or relative to the largest |λ| of each matrix. (Codes that write
    `x/(x² + ε)` have ε = η².)
    """

    name: ClassVar[str] = "lorentzian"
    summary: ClassVar[str] = "eigh forward; 1/gap broadened to a Lorentzian backward"
    source: ClassVar[str] = "Liao et al., PRX 9, 031041, 2019 (tensorgrad: η² = 1e-12, absolute)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "continuous"})
    converged: ClassVar[Mapping[str, Parameter]] = {"eta": 1e-12}

    eta: float = 1e-6
    relative: bool = False

    def __post_init__(self) -> None:
        require_positive("eta", self.eta)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return pairwise_eigh(M, self)

    def half_coefficients(self, eigenvalues: Tensor) -> tuple[Tensor, None]:
        """`½Δ/(Δ² + η²)`."""
        # Quarters, so that no difference of finite eigenvalues overflows.
        eigenvalues = eigenvalues / 4
        gap = gaps_above(eigenvalues)
        eta = torch.full_like(eigenvalues[..., :1], self.eta / 4)
        if self.relative and eigenvalues.shape[-1] > 0:
            eta = self.eta * eigenvalues.abs().amax(-1, keepdim=True)
        # Divided twice by the hypotenuse, so that no square under- or overflows.
        hypotenuse = torch.hypot(gap, eta.unsqueeze(-1))
        # Of a zero matrix a relative width is 0 too, and the coefficient is 0.
        hypotenuse = torch.where(hypotenuse > 0, hypotenuse, 1)
        return gap / hypotenuse / hypotenuse / 8, None


@dataclass(frozen=True)
class RelativeLorentzian(Lorentzian):
    """`lorentzian` with η relative to the scale of M, so that the scale does not matter."""

    name: ClassVar[str] = "lorentzian-relative"
    summary: ClassVar[str] = "lorentzian with a width relative to the largest eigenvalue"
    source: ClassVar[str] = "github.com/invrs-io/fmmax (ε = η² relative to the scale)"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})

    relative: bool = True
