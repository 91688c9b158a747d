"""Newton–Schulz iteration forward and backward: no decomposition at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Parameter, Promise, WithoutEigenpairs, require_count
from eigbench.methods.roots import RootMethod, newton_schulz
from eigbench.phases import phase


@dataclass(frozen=True)
class NewtonSchulz(WithoutEigenpairs, RootMethod):
    """Few coupled Newton–Schulz iterations, which autograd follows back.

    In exact arithmetic the inverse root is IterNorm's `P ← 1.5P − 0.5P³Σ_N`, whose iterates are
    the Z of the coupled form. Both passes are matrix products, so no gap matters; but after T
    iterations, `steps`, the result is a polynomial of M that has not reached the root where an
    eigenvalue is small beside the trace: forward and backward agree with each other, not with
    `M^(−1/2)`.
    """

    name: ClassVar[str] = "newton-schulz"
    summary: ClassVar[str] = "coupled Newton–Schulz iteration forward and backward (IterNorm)"
    source: ClassVar[str] = "Huang et al., IterNorm, CVPR 2019 (T = 5)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})
    converged: ClassVar[Mapping[str, Parameter]] = {"steps": 30}

    steps: int = 5

    def __post_init__(self) -> None:
        require_count("steps", self.steps)

    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """The root after `steps` iterations."""
        with phase("products"):
            return newton_schulz(M, self.steps, inverse=inverse)
