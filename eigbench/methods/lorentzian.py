"""The analytic gradient with a Lorentzian in place of 1/gap."""

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
class Lorentzian(Method):
    """`Δ/(Δ² + η²)` in place of `1/Δ`, η being `eta`.

    At most ½/η, and 0 at a gap of 0, smoothly. For Δ ≫ η it is too small by the factor
    `1 − η²/Δ²`. η is absolute, or relative to the largest |λ| of each matrix. (Codes that write
    `x/(x² + ε)` have ε = η².)
    """

    name: ClassVar[str] = "lorentzian"
    summary: ClassVar[str] = "eigh forward; 1/gap broadened to a Lorentzian backward"
    source: ClassVar[str] = "Liao et al., PRX 9, 031041, 2019 (tensorgrad: η² = 1e-12, absolute)"
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
