"""How many eigenpairs Algorithm 1 keeps, and why it stops there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eigbench.methods.base import Eigenpairs

RAYLEIGH_MISMATCH = 0.1  # Algorithm 1, line 3
ENERGY_KEPT = 1 - 1e-4  # Algorithm 1, line 3

REASONS = ("none", "eigenvalue ≤ ε", "Rayleigh quotient off by 10 %", "energy reached")


class Truncation(NamedTuple):
    """`rank` `(batch,)`: pairs kept; `reason` `(batch,)`: an index into `REASONS`."""

    rank: Tensor
    reason: Tensor


def algorithm_1(
    M: Tensor,
    pairs: Eigenpairs,
    epsilon: float,
    mismatch: float = RAYLEIGH_MISMATCH,
    energy: float = ENERGY_KEPT,
) -> Truncation:
    """The truncation of Algorithm 1 (Wang et al., NeurIPS 2019), line 3.

    Goes through the pairs of `M` `(batch, n, n)` from the largest eigenvalue down and stops
    before the first with λ ≤ ε, with a Rayleigh quotient on the deflated matrix that is off by
    `mismatch`, or at which the kept share of the trace reaches `energy`. At least one is kept.
    """
    values = pairs.eigenvalues.flip(-1)
    share = values.cumsum(-1) / values.sum(-1, keepdim=True)
    off = (_rayleigh_quotients(M, pairs.eigenvectors.flip(-1)) - values).abs() / values.abs()
    conditions = torch.stack([values <= epsilon, ~(off < mismatch), share >= energy], dim=-1)
    stops = conditions.any(-1)
    n = values.shape[-1]
    first = torch.where(stops.any(-1), stops.int().argmax(-1), n)
    at_stop = conditions[torch.arange(len(first), device=first.device), first.clamp(max=n - 1)]
    reason = torch.where(first < n, at_stop.int().argmax(-1) + 1, 0)
    return Truncation(first.clamp(min=1), reason)


def _rayleigh_quotients(M: Tensor, eigenvectors: Tensor) -> Tensor:
    """Each vector's quotient `(batch, n)` on the matrix that those before it were deflated from."""
    deflated = M
    quotients = []
    for v in torch.split(eigenvectors, 1, dim=-1):
        image = deflated @ v
        quotients.append((v.mT @ image / (v.mT @ v))[..., 0, 0])
        deflated = deflated - image @ v.mT
    return torch.stack(quotients, -1)
