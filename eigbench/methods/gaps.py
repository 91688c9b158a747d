"""Gaps and ratios of eigenvalues, on which the coefficient tables rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaps_above(eigenvalues: Tensor) -> Tensor:
    """`λb − λa` for `b > a` of ascending eigenvalues `(..., n)`, and 1 elsewhere: `(..., n, n)`.

    Only what stands above the diagonal of a table counts; the ones keep the rest finite.
    """
    gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
    return torch.where(torch.ones_like(gap, dtype=torch.bool).triu(1), gap, 1)


def leading_ratios(eigenvalues: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """`q = λa/λb` `(..., n, n)` and `½/λb` `(..., 1, n)` for ascending eigenvalues `(..., n)`.

    Above the diagonal the column leads and `0 ≤ q ≤ 1`; below, q is clamped to 1, so that its
    powers stay finite. If M has negative eigenvalues, they are those of `M − λmin I`, which has
    the same eigenvectors and gaps. Where `largest/λb` would overflow, λb counts as zero: its
    inverse and its ratios are 0.
    """
    # Halved first, so that no difference of finite eigenvalues overflows.
    halved = eigenvalues * 0.5
    shifted = halved - _lowest_negative(halved)
    smallest = 2 * largest / torch.finfo(shifted.dtype).max
    inverse = torch.threshold(shifted, smallest, math.inf).reciprocal().unsqueeze(-2)
    q = (shifted.unsqueeze(-1) * inverse).clamp(max=1)
    return q, inverse * 0.25


def _lowest_negative(eigenvalues: Tensor) -> Tensor:
    """The lowest of ascending eigenvalues `(..., n)` where it is negative, else 0: `(..., 1)`."""
    return eigenvalues[..., :1].clamp(max=0)
