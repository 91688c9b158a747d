"""The matrices of the contract: their eigenpairs are known, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eigbench import losses
from eigbench.measure.differentiate import symmetric_directions
from eigbench.spectra import Floats, Sample, random_orthogonal

ROUNDING = 1e-12
"""What two ways to the same float64 number may differ by: some thousand roundings."""
TRUTH = 1e-10
"""How far a float64 gradient may be from one known in closed form."""
DIFFERENCES = 1e-8
"""How far from central differences of step 1e-5, which are themselves good to about 1e-10."""
STEP = 1e-5


def weights(n: int) -> Floats:
    """One random symmetric matrix `(n, n)` of norm 1."""
    W: Floats = losses.weights(n, range(7, 8))[0]
    return W


def sample(values: Sequence[float], *, rotate_basis: bool = True) -> Sample:
    """Eigenpairs `(1, n)`, `(1, n, n)` with these ascending eigenvalues.

    In a random basis; or along the axes, where a tie survives the rounding of M.
    """
    n = len(values)
    basis = random_orthogonal(n, 0) if rotate_basis else np.eye(n)
    return Sample(np.asarray(values, dtype=np.float64)[None], basis[None])


CONDITION = 20.0
"""Of the largest matrix of `separated`, n = 5."""


def separated(n: int, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Tensor:
    """Positive definite `(*batch, n, n)`, n ≤ 5: each eigenvalue is half of the next.

    But for the second largest, which is 0.4 of the largest: so one gap is the widest. In a batch
    of several the matrices differ by a factor of up to 1.3.
    """
    values = np.append(0.4 * 0.5 ** np.arange(n - 2, -1, -1), 1.0)
    count = math.prod(batch)
    scales = np.linspace(1, 1.3, max(1, count))[:count, None]
    basis = np.broadcast_to(random_orthogonal(n, 0), (count, n, n))
    matrices = Sample(values * scales, basis).matrices()
    return torch.tensor(matrices.reshape(*batch, n, n), dtype=dtype)


def central_differences(loss: Callable[[Floats], Floats], M: Floats, step: float = STEP) -> Floats:
    """`∂L/∂M` `(n, n)` in the symmetric directions in which a symmetric `M` can move.

    `loss` takes a stack `(count, n, n)` and gives `(count,)`.
    """
    directions = symmetric_directions(len(M))
    slopes = (loss(M + step * directions) - loss(M - step * directions)) / (2 * step)
    # A direction off the diagonal is (e_ij + e_ji)/2, so its slope is that entry itself.
    gradient: Floats = np.zeros_like(M)
    gradient[np.triu_indices(len(M))] = slopes
    return gradient + np.triu(gradient, 1).T
