"""Any inverse root by matrix products: coupled inverse Newton iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import (
    HERMITIAN,
    Parameter,
    Promise,
    WithoutEigenpairs,
    frobenius_norm,
    require_count,
    symmetric_part,
)
from eigbench.methods.functions import InverseRoot, InverseSquareRoot, SpectralFunction
from eigbench.methods.roots import identity_like, scaled
from eigbench.phases import phase


@dataclass(frozen=True)
class CoupledNewton(WithoutEigenpairs):
    """`M^(−1/p)` for any whole p, by iterations that autograd follows back.

    `X ← XT` and `N ← TᵖN` with `T = ((p + 1)I − N)/p`, from `X = I/c` and `N = M/cᵖ` with
    `cᵖ = 2‖M‖/(p + 1)`: N tends to I and X to the root (Higham, Functions of Matrices, 2008,
    Eq. 7.18). A small eigenvalue grows `((p + 1)/p)ᵖ`-fold in a step, 2-fold at least; so 30 steps
    are enough up to condition 1e6. The scale is a constant to the gradient.
    """

    name: ClassVar[str] = "coupled-newton"
    summary: ClassVar[str] = "inverse roots of any order p by coupled Newton iteration, both ways"
    source: ClassVar[str] = "Guo and Higham, 2006; facebookresearch/optimizers (Shampoo)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"functions", "finite", "scale", "continuous"}
    )
    converged: ClassVar[Mapping[str, Parameter]] = {"steps": 40}
    precision: ClassVar[Literal["input", "float64"]] = "float64"

    steps: int = 30

    def __post_init__(self) -> None:
        require_count("steps", self.steps)

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`M^(−1/p)` `(..., n, n)`; `NotApplicable` for another function."""
        reason = self.function_refusal(function)
        if reason is not None:
            raise NotApplicable(reason)
        p = function.order if isinstance(function, InverseRoot) else 2
        with phase("products"):
            return scaled(
                symmetric_part(M),
                lambda A: frobenius_norm(A) * (2 / (p + 1)),
                lambda A: _inverse_root(A, p, self.steps),
                -1 / p,
            )

    def function_refusal(self, function: SpectralFunction) -> str | None:
        """The reason for any function but an inverse root."""
        if isinstance(function, (InverseRoot, InverseSquareRoot)):
            return None
        return f"{self.name} computes M^(−1/p), and no other function of M"


def _inverse_root(N: Tensor, p: int, steps: int) -> Tensor:
    """`N^(−1/p)` of `N` `(batch, n, n)` with eigenvalues in (0, (p + 1)/2]."""
    identity = identity_like(N)
    X = None
    for step in range(steps):
        T = torch.add(identity * ((p + 1) / p), N, alpha=-1 / p)
        X = T if X is None else torch.bmm(X, T)
        if step < steps - 1:
            for factor in _powers(T, p):
                N = torch.bmm(factor, N)
    assert X is not None  # noqa: S101  # there is a step
    return X


def _powers(T: Tensor, p: int) -> list[Tensor]:
    """Powers of two of T whose product is `Tᵖ`."""
    found = []
    while True:
        if p % 2:
            found.append(T)
        p //= 2
        if not p:
            return found
        T = torch.bmm(T, T)
