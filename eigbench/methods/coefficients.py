"""What tables of coefficients are made of: gaps and ratios of eigenvalues, and a finite series."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

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
    shifted = halved - halved[..., :1].clamp(max=0)
    smallest = 2 * largest / torch.finfo(shifted.dtype).max
    inverse = torch.threshold(shifted, smallest, math.inf).reciprocal().unsqueeze(-2)
    q = (shifted.unsqueeze(-1) * inverse).clamp(max=1)
    return q, inverse * 0.25


class Arithmetic(NamedTuple):
    """Products and sums that overwrite their first operand, or that leave it for autograd."""

    mul: Callable[..., Tensor]
    add: Callable[..., Tensor]
    addcmul: Callable[..., Tensor]


_IN_PLACE = Arithmetic(Tensor.mul_, Tensor.add_, Tensor.addcmul_)
_FRESH = Arithmetic(torch.mul, torch.add, torch.addcmul)


def choose_arithmetic() -> Arithmetic:
    """In place, except where a second derivative is being recorded.

    On tables of the size of M a fresh tensor costs several times the operation that fills it.
    """
    return _FRESH if torch.is_grad_enabled() else _IN_PLACE


def geometric_series(q: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """`S = 1 + q + … + q^(terms−1)` and the next power `q^terms`, for `terms ≥ 0`.

    The power-iteration gradient rests on it (Eq. 7 and 11). Summed by doubling,
    `S(2m) = S(m)(1 + q^m)`: about 2 log₂(terms) element-wise products, and for `q ≥ 0` only
    positive terms. The closed form `(1 − q^m)/(1 − q)` would cancel as q → 1, where
    the series is needed most. Both results are new tensors.
    """
    mul, add, addcmul = choose_arithmetic()
    if terms == 0:
        return torch.zeros_like(q), torch.ones_like(q)
    if terms == 1:
        return torch.ones_like(q), q.clone()
    # The leading bit is S(1) = 1 and q; the second doubles them, out of place, to 1 + q and q².
    total, power = q + 1, q * q
    bits = f"{terms:b}"
    for position, bit in enumerate(bits[1:]):
        if position > 0:
            total = addcmul(total, total, power)
            power = mul(power, power)
        if bit == "1":
            total = add(mul(total, q), 1)
            power = mul(power, q)
    return total, power
