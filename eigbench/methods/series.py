"""The truncated geometric series, on which the power-iteration gradient rests (Eq. 7 and 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from eigbench.methods.arithmetic import choose_arithmetic


def geometric_series(q: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """`S = 1 + q + … + q^(terms−1)` and the next power `q^terms`, for `terms ≥ 0`.

    Summed by doubling, `S(2m) = S(m)(1 + q^m)`: about 2 log₂(terms) element-wise products, and for
    `q ≥ 0` only positive terms. The closed form `(1 − q^m)/(1 − q)` would cancel as q → 1, where
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
