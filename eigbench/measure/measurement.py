"""What every measurement returns, and batches of matrices in float64, where all is compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.spectra import Floats, Numbers


class Measurement(NamedTuple):
    """Raw numbers and raw words by metric, one a seed."""

    samples: dict[str, list[float]]
    labels: dict[str, list[str]]


def as_list(values: Any) -> list[float]:
    """A one-dimensional array, tensor or list as plain floats."""
    plain: list[float] = np.asarray(values, dtype=np.float64).reshape(-1).tolist()
    return plain


def float64(x: Tensor) -> Numbers:
    """A tensor as a NumPy array, complex128 if it is complex, without its gradient."""
    dtype = torch.complex128 if x.is_complex() else torch.float64
    # Of a lazy conjugate NumPy knows nothing.
    array: Numbers = x.detach().to(device="cpu", dtype=dtype).resolve_conj().numpy()
    return array


def are_finite(matrices: Numbers) -> NDArray[np.bool_]:
    """Which matrices are finite: `(seeds,)`."""
    flags: NDArray[np.bool_] = np.all(np.isfinite(matrices), axis=(-2, -1))
    return flags


def norms(matrices: Numbers) -> Floats:
    """Frobenius norms `(seeds,)`, scaled first so that squares do not overflow."""
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = np.abs(matrices).max(axis=(-2, -1))
        scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        norms: Floats = scale * np.sqrt(
            np.square(np.abs(matrices / scale[:, None, None])).sum(axis=(-2, -1))
        )
    return norms
