"""What the functions of rectangular matrices accept."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.calling import casts, whole_precision

_WHOLE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def matrices(M: Tensor) -> Tensor:
    """`M` `(..., m, n)` in whole precision; `ValueError` or `TypeError` for what it is not."""
    if M.dim() < 2:
        raise ValueError(f"M must be matrices (..., m, n), not shape {tuple(M.shape)}")
    M = whole_precision(M)
    if M.dtype not in _WHOLE:
        raise TypeError(
            "M must be float16, bfloat16, float32, float64, complex64 or complex128, "
            f"not {str(M.dtype).removeprefix('torch.')}"
        )
    return M


def without_autocast(M: Tensor) -> AbstractContextManager[Any]:
    """A context with autocast off for the device of `M`."""
    return torch.autocast(M.device.type, enabled=False) if casts(M) else nullcontext()
