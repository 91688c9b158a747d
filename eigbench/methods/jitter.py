"""Eigenvalues moved apart before the decomposition: every forum's first advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eigbench.methods.analytic import analytic_eigh
from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Method,
    Parameter,
    Promise,
    require_positive,
)
from eigbench.methods.calling import constant_when_compiled, sent


@dataclass(frozen=True)
class Jitter(Method):
    """`eigh` of `M + δ·max|M[i,j]|·diag(noise)`, with its analytic gradient; δ is `delta`.

    So the value is that of another matrix. The noise is uniform between 0 and 1, drawn from `seed`
    by NumPy for each n: the same for every call, every matrix and every device. The largest entry,
    which is at most the largest |λ| and costs no decomposition, counts as a constant in the
    gradient. A tie is moved apart by about δ, and coefficients are bounded by nothing.
    """

    name: ClassVar[str] = "jitter"
    summary: ClassVar[str] = "eigh of M with a little noise on its diagonal, forward and backward"
    source: ClassVar[str] = "users' advice; github.com/sethaxen/CAGPJax, #5 (taken back by #6)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"scale"})
    converged: ClassVar[Mapping[str, Parameter]] = {"delta": 1e-16}

    delta: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive("delta", self.delta)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose `M` `(..., n, n)`, symmetric, after it was changed."""
        if not M.numel():
            return analytic_eigh(self.name, M)
        largest = M.detach().abs().amax((-2, -1)).unsqueeze(-1)
        noise = torch.tensor(_noise(M.shape[-1], self.seed), dtype=largest.dtype, device="cpu")
        moved = self.delta * largest * sent(noise, M.device)
        return analytic_eigh(self.name, M + torch.diag_embed(moved))


@constant_when_compiled
def _noise(n: int, seed: int) -> list[float]:
    """`(n,)`; drawn outside torch, so that every device, vmap and compile agree."""
    drawn: list[float] = np.random.default_rng(seed).random(n).tolist()
    return drawn
