"""Newton–Schulz iteration forward and backward: no decomposition at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import (
    HERMITIAN,
    Parameter,
    Promise,
    WithoutEigenpairs,
    frobenius_norm,
    require_count,
)
from eigbench.methods.roots import NEWTON_SCHULZ, RootMethod, coupled, newton_schulz, scaled
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


@dataclass(frozen=True)
class NewtonDB(NewtonSchulz):
    """The same iteration, scaled by the largest eigenvalue instead of the trace.

    So the smallest eigenvalue starts n times higher at most, which saves up to log n/log 2.25
    iterations. The largest is estimated by power iteration from all starts at once: the norm of the
    eighth power of M, which is too large by a factor of n^(1/16) at most, and never too small. It
    is a constant to the gradient.
    """

    name: ClassVar[str] = "newton-db"
    summary: ClassVar[str] = "newton-schulz, scaled by the largest eigenvalue (Newton–DB)"
    source: ClassVar[str] = "Modoranu et al., DASH, arXiv:2602.02016, 2026 (T = 10)"

    steps: int = 10

    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """The root after `steps` iterations."""
        with phase("products"):
            iterate = partial(coupled, schedule=(NEWTON_SCHULZ,) * self.steps, inverse=inverse)
            return scaled(M, largest_eigenvalue, iterate, -0.5 if inverse else 0.5)


def largest_eigenvalue(A: Tensor) -> Tensor:
    """A bound `(batch, 1, 1)` of the eigenvalues of `A` `(batch, n, n)`, too large by n^(1/16)."""
    norm = frobenius_norm(A)
    power = A / norm
    for _ in range(3):
        power = torch.bmm(power, power)
    return norm * frobenius_norm(power) ** 0.125
