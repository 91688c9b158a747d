"""Batches of matrices in float64, where everything is compared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigbench.spectra import Floats


def float64(x: Tensor) -> Floats:
    """A tensor as a NumPy array, without its gradient."""
    array: Floats = x.detach().to(device="cpu", dtype=torch.float64).numpy()
    return array


def are_finite(matrices: Floats) -> NDArray[np.bool_]:
    """Which matrices are finite: `(seeds,)`."""
    flags: NDArray[np.bool_] = np.all(np.isfinite(matrices), axis=(-2, -1))
    return flags


def norms(matrices: Floats) -> Floats:
    """Frobenius norms `(seeds,)`, scaled first so that squares do not overflow."""
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = np.abs(matrices).max(axis=(-2, -1))
        scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        norms: Floats = scale * np.sqrt(
            np.square(matrices / scale[:, None, None]).sum(axis=(-2, -1))
        )
    return norms
