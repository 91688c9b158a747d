"""A decomposition forward, the gradient of Newton–Schulz iteration backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from eigbench.methods.analytic import eigenvalues_alone
from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Parameter,
    Promise,
    reconstruct,
    require_count,
)
from eigbench.methods.functions import InverseSquareRoot, SquareRoot
from eigbench.methods.roots import RootMethod, newton_schulz
from eigbench.phases import phase


@dataclass(frozen=True)
class SvdNewton(RootMethod):
    """The root from eigenpairs, with the gradient of the root that `newton-schulz` computes.

    What comes out is accurate; what goes back is the derivative of another matrix, the iterate
    after `steps` iterations, and is right as far as that has converged.
    """

    name: ClassVar[str] = "svd-newton"
    summary: ClassVar[str] = "eigh forward; gradient of Newton–Schulz iteration backward"
    source: ClassVar[str] = "Song et al., ICCV 2021 (SVD-Newton, 3 iterations)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "functions"
    truncation: ClassVar[str] = "none"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})
    converged: ClassVar[Mapping[str, Parameter]] = {"steps": 30}

    steps: int = 3

    def __post_init__(self) -> None:
        require_count("steps", self.steps)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`; only the eigenvalues have a gradient."""
        return eigenvalues_alone(self.name, M)

    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """The value from eigenpairs, the gradient from the iteration."""
        function = InverseSquareRoot() if inverse else SquareRoot()
        value = reconstruct(eigenvalues_alone(self.name, M.detach()), function)
        with phase("products"):
            iterate = newton_schulz(M, self.steps, inverse=inverse)
            # The difference is exactly 0; its gradient is that of the iterate.
            return value + (iterate - iterate.detach())
