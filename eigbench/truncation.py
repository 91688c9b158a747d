"""How many eigenpairs a whitening layer keeps, and why it stops there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eigbench.algorithm_1 import ENERGY_KEPT, RAYLEIGH_MISMATCH
from eigbench.methods.base import Eigenpairs

REASONS = (
    "none",
    "eigenvalue ≤ ε",
    "Rayleigh quotient off by 10 %",
    "energy reached",
    "eigenvalue above the one before",
)

RULES = ("algorithm-1", "none", "released", "pi-released")
"""The paper's truncation, none at all, and those of the authors' released variants: SVD, PI."""


class Truncation(NamedTuple):
    """`rank` `(...,)`: pairs kept; `reason` `(...,)`: an index into `REASONS`."""

    rank: Tensor
    reason: Tensor


def truncate(
    rule: str, M: Tensor, pairs: Eigenpairs, epsilon: float, energy: float = ENERGY_KEPT
) -> Truncation:
    """How many pairs of `M` `(..., n, n)` the rule keeps, one of `RULES`; else `ValueError`.

    `energy` is the share of the trace at which Algorithm 1 stops; the other rules have none.
    """
    if rule == "algorithm-1":
        return algorithm_1(M, pairs, epsilon, energy=energy)
    if rule == "none":
        everything = torch.full_like(pairs.eigenvalues[..., 0], M.shape[-1], dtype=torch.int64)
        return Truncation(everything, torch.zeros_like(everything))
    if rule == "released":
        return released(pairs, epsilon)
    if rule == "pi-released":
        return pi_released(pairs, epsilon)
    raise ValueError(f"unknown truncation {rule!r}; there are {', '.join(RULES)}")


def kept_mask(rank: Tensor, eigenvalues: Tensor) -> Tensor:
    """1 for each of the `rank` `(...,)` leading pairs, 0 for the others, in ascending order.

    `(..., n)`, in the dtype of the `eigenvalues` `(..., n)`.
    """
    n = eigenvalues.shape[-1]
    # In ascending order the leading pairs come last.
    place = torch.arange(n - 1, -1, -1, device=rank.device)
    return (place < rank[..., None]).to(eigenvalues.dtype)


def algorithm_1(  # noqa: PLR0913 - the settings of the paper, and one of ours
    M: Tensor,
    pairs: Eigenpairs,
    epsilon: float,
    mismatch: float = RAYLEIGH_MISMATCH,
    energy: float = ENERGY_KEPT,
    *,
    roundings: float = 0,
) -> Truncation:
    """The truncation of Algorithm 1 (Wang et al., NeurIPS 2019), line 3.

    Goes through the pairs of `M` `(..., n, n)` from the largest eigenvalue down and stops
    before the first with λ ≤ ε, with a Rayleigh quotient on the deflated matrix that is off by
    `mismatch`, or at which the kept share of the trace reaches `energy`. At least one is kept.
    All at once, without a loop and without waiting for the device.

    Of an M of lower rank to which ε was added, eigenvalues equal ε but for rounding, which then
    decides. With `roundings` from 1 on the limit is `ε + roundings·n·u·λmax`, u that of the dtype,
    and the rank is that of M; 0 is the rule as printed.
    """
    # Detached: whole numbers come out, for which autograd need record nothing.
    values, vectors = (part.detach().flip(-1) for part in pairs)
    unit = roundings * M.shape[-1] * torch.finfo(values.dtype).eps
    limit = epsilon + unit * values.narrow(-1, 0, 1) if roundings else epsilon
    share = values.cumsum(-1) / values.sum(-1, keepdim=True)
    off = (_rayleigh_quotients(M.detach(), vectors) - values).abs() / values.abs()
    rest = torch.where(share >= energy, 3, 0)
    # "Not below", so that NaN stops too.
    reasons = torch.where(values <= limit, 1, torch.where(off < mismatch, rest, 2))
    first = (reasons > 0).int().argmax(-1, keepdim=True)
    # Without a stop `first` is 0, and so is the reason there.
    reason = reasons.gather(-1, first)[..., 0]
    rank = torch.where(reason > 0, first[..., 0], values.shape[-1])
    return Truncation(rank.clamp(min=1), reason)


def released(pairs: Eigenpairs, epsilon: float) -> Truncation:
    """What the authors' released program does in its SVD variant, unlike the paper.

    Its rank starts at 1 and changes only where some λ ≤ ε: it then keeps the pairs down to and
    including the first such one. So without a small eigenvalue only the leading pair is kept
    (github.com/cvlab-epfl/Power-Iteration-SVD, `ZCANorm.py`).
    """
    small = pairs.eigenvalues.flip(-1) <= epsilon
    # The place of the first small one; argmax of nothing small is 0, the leading pair's place.
    rank = small.int().argmax(-1) + 1
    return Truncation(rank, small.any(-1).long())


def pi_released(pairs: Eigenpairs, epsilon: float) -> Truncation:
    """What the authors' released program does in its power-iteration variant, unlike the paper.

    From the second pair on it stops before the first whose eigenvalue is above that of the pair
    found before it, or below ε; the first is kept whatever it is. The `pairs` are in the order in
    which they were found, the first last (`eigbench.methods.pi`). An eigenvalue that is
    NaN stops nothing, as there: what comes out of the layer is then NaN
    (github.com/cvlab-epfl/Power-Iteration-SVD, `ZCANorm.py`, `ZCANormPIunstable`).
    """
    values = pairs.eigenvalues.detach().flip(-1)
    before, current = values[..., :-1], values[..., 1:]
    reasons = torch.where(current > before, 4, torch.where(current < epsilon, 1, 0))
    reasons = torch.nn.functional.pad(reasons, (1, 0))
    # Without a stop `first` is 0, and so is the reason there.
    first = (reasons > 0).int().argmax(-1, keepdim=True)
    reason = reasons.gather(-1, first)[..., 0]
    return Truncation(torch.where(reason > 0, first[..., 0], values.shape[-1]), reason)


def _rayleigh_quotients(M: Tensor, eigenvectors: Tensor) -> Tensor:
    """Each vector's quotient `(..., n)` on the matrix that those before it were deflated from.

    The i-th deflated matrix is `M (I − v₁v₁ᵀ) … (I − v_{i−1} v_{i−1}ᵀ)`. With `H = VᵀMV` and
    `U = I + striu(VᵀV)`, that product turns `v_i` into the i-th column of `V U⁻¹` (the compact WY
    form; Schreiber and Van Loan, 1989), so its quotient is `(H U⁻¹)[i,i] / (VᵀV)[i,i]`, whether
    or not the vectors are orthonormal.
    """
    # A vector that is not finite has no quotient and must not reach those before it, as it may
    # in a triangular solve that inverts blocks of the diagonal.
    finite = eigenvectors.isfinite().all(dim=-2)
    V = torch.where(finite[..., None, :], eigenvectors, 0)
    gram = V.mT @ V
    # Of the Gram matrix only what stands above the diagonal is read.
    images = torch.linalg.solve_triangular(
        gram, V.mT @ M @ V, upper=True, left=False, unitriangular=True
    )
    quotients = images.diagonal(dim1=-2, dim2=-1) / gram.diagonal(dim1=-2, dim2=-1)
    return torch.where(finite, quotients, torch.nan)
