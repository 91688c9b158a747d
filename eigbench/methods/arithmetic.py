"""Element-wise arithmetic that reuses memory where autograd allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


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
