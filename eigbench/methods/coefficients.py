"""What tables of coefficients are made of: gaps and ratios of eigenvalues, and a finite series."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from eigbench.methods.calling import composing, is_wrapped, observed, recording


def gaps_above(eigenvalues: Tensor) -> Tensor:
    """`λb − λa` for `b > a` of ascending eigenvalues `(..., n)`, and 1 elsewhere: `(..., n, n)`.

    Only what stands above the diagonal of a table counts; the ones keep the rest finite.
    """
    gap = eigenvalues.unsqueeze(-2) - eigenvalues.unsqueeze(-1)
    return torch.where(above_diagonal(gap, torch.bool), gap, 1)


KEPT_SIZE = 256
"""Up to this n a mask is made once: it takes 256 kB, and longer to make than to multiply by."""


def above_diagonal(X: Tensor, dtype: torch.dtype) -> Tensor:
    """A constant `(n, n)` for tables `X` `(..., n, n)`: 1 above the diagonal, and 0 elsewhere.

    For products, as `triu` makes all threads of a CPU wait for each other, however small X is.
    """
    n = X.shape[-1]
    if X.is_cpu and n <= KEPT_SIZE and not composing() and not observed(X):
        return _kept_mask(n, dtype)
    return torch.ones(n, n, dtype=dtype, device=X.device).triu(1)


@functools.lru_cache(maxsize=32)
def _kept_mask(n: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.ones(n, n, dtype=dtype, device="cpu").triu(1)


def with_diagonal(X: Tensor, diagonal: Tensor) -> Tensor:
    """`X` `(..., n, n)` with another diagonal `(..., n)`; it may be written to `X` itself.

    The diagonal may be real where X is complex.
    """
    # Where cotangents are batched, by `torch.func` or by autograd, those of X need not be.
    if recording() or composing() or is_wrapped(diagonal):
        return torch.diagonal_scatter(X, diagonal.to(X.dtype), dim1=-2, dim2=-1)
    X.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
    return X


def leading_ratios(eigenvalues: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """`q = λa/λb` `(..., n, n)` and `½/λb` `(..., 1, n)` for ascending eigenvalues `(..., n)`.

    Above the diagonal the column leads and `0 ≤ q ≤ 1`; below, q is clamped to 1, so that its
    powers stay finite. If M has negative eigenvalues, they are those of `M − λmin I`, which has
    the same eigenvectors and gaps. Where `largest/λb` would overflow, λb counts as zero: its
    inverse and its ratios are 0.
    """
    mul, _, clamp, reciprocal = choose_arithmetic()
    n = eigenvalues.shape[-1]
    # Halved first, so that no difference of finite eigenvalues overflows.
    halved = eigenvalues * 0.5
    shifted = halved - halved.narrow(-1, 0, min(n, 1)).clamp(max=0)
    smallest = 2 * largest / torch.finfo(shifted.dtype).max
    inverse = reciprocal(torch.threshold(shifted, smallest, math.inf)).unsqueeze(-2)
    q = clamp(shifted.unsqueeze(-1) * inverse, max=1)
    return q, mul(inverse, 0.25)


class Arithmetic(NamedTuple):
    """Operations that overwrite their first operand, or that leave it for autograd."""

    mul: Callable[..., Tensor]
    addcmul: Callable[..., Tensor]
    clamp: Callable[..., Tensor]
    reciprocal: Callable[..., Tensor]


_IN_PLACE = Arithmetic(Tensor.mul_, Tensor.addcmul_, Tensor.clamp_, Tensor.reciprocal_)
_FRESH = Arithmetic(torch.mul, torch.addcmul, torch.clamp, torch.reciprocal)


def choose_arithmetic() -> Arithmetic:
    """In place, except where a second derivative is being recorded.

    On tables of the size of M a fresh tensor costs several times the operation that fills it.
    """
    return _FRESH if recording() else _IN_PLACE


def geometric_series(q: Tensor, terms: int, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`S = 1 + q + … + q^(terms−1)`, times `first`, and the power `q^terms`, for `terms ≥ 0`.

    The power-iteration gradient rests on it (Eq. 7 and 11). Summed by doubling,
    `S(2m) = S(m)(1 + q^m)`: about 2 log₂(terms) element-wise products, and for `q ≥ 0` only
    positive terms. The closed form `(1 − q^m)/(1 − q)` would cancel as q → 1, where
    the series is needed most. Both results are new tensors.
    """
    mul, addcmul = choose_arithmetic()[:2]
    if first is None:
        first = q.new_ones(())
    if terms == 0:
        return torch.zeros_like(q), torch.ones_like(q)
    if terms == 1:
        return torch.ones_like(q) * first, q.clone()
    # The leading bit is S(1) = 1 and q; the second doubles them, out of place, to 1 + q and q².
    total, power = torch.addcmul(first, q, first), q * q
    bits = f"{terms:b}"
    for position, bit in enumerate(bits[1:]):
        if position > 0:
            total = addcmul(total, total, power)
            power = mul(power, power)
        if bit == "1":
            total = torch.addcmul(first, total, q)
            power = mul(power, q)
    return total, power
