"""`eigbench.eigh`: any method, called as `torch.linalg.eigh` is."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eigbench.methods.base import Eigenpairs
from eigbench.methods.registry import configured, load_built_in

load_built_in()


def eigh(M: Tensor, UPLO: str = "L", *, method: str = "hybrid", **parameters: Any) -> Eigenpairs:
    """Decompose symmetric matrices, with the gradient of a chosen method.

    A drop-in for `torch.linalg.eigh`: eigenvalues `(..., n)` ascending and eigenvectors
    `(..., n, n)` in columns, for `M` `(..., n, n)` in float32 or float64 on any device. `M` must
    be symmetric; `UPLO` is accepted and ignored. The gradient is a symmetric matrix.

    `parameters` are the method's own, such as `iterations=19` for `hybrid` (Wang et al.,
    NeurIPS 2019, Eq. 4). Raises `ValueError` for an unknown method, parameter or a shape that is
    not square, and `TypeError` for a dtype or device that the method does not take.
    """
    if UPLO not in ("L", "U", "l", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', not {UPLO!r}")
    shape = M.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"eigh takes square matrices (..., n, n), not shape {tuple(shape)}")
    chosen = configured(method, **parameters)
    reason = chosen.refusal(M)
    if reason is not None:
        raise TypeError(reason)
    return chosen.eigh(M)
