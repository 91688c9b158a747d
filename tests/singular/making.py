"""Matrices that the tests of this folder share."""

from __future__ import annotations

import torch
from torch import Tensor


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖/‖truth‖, in double precision."""
    wide = torch.complex128 if truth.is_complex() else torch.float64
    found, truth = found.detach().to(wide), truth.detach().to(wide)
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


def rectangular(
    values: Tensor, m: int, n: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """`M = U diag(values) Wᴴ` `(m, n)`, and U and W, orthonormal to rounding."""
    generator = torch.Generator().manual_seed(seed)
    r = len(values)
    U, _ = torch.linalg.qr(torch.randn(m, r, generator=generator, dtype=dtype))
    W, _ = torch.linalg.qr(torch.randn(n, r, generator=generator, dtype=dtype))
    return (U * values.to(dtype)) @ W.mH, U, W
