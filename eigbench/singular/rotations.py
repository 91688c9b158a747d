"""The polar factor of many real 3×3 matrices at once: every step is elementwise over the batch.

Inside, matrices are `(3, 3, batch)`: batched products of matrices so small take more time than all
that is done here.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 4
"""Of 10⁶ random, graded, nearly tied and rounded matrices in each precision none needed more: the
cosine between two columns was below 2e-7 in float32 and below 6e-15 in float64."""
_PAIRS = ((0, 1), (0, 2), (1, 2))


def polar_factor(M: Tensor, *, rotation: bool) -> Tensor:
    """The orthogonal matrix `(..., 3, 3)` nearest to `M`, or the nearest rotation; no gradient.

    By one-sided Jacobi rotations (Hestenes, 1958; Demmel and Veselić, SIAM J. Matrix Anal. Appl.
    13, 1992): `M V` has orthogonal columns, and V is a rotation. Two of the columns, made unit
    vectors, and their cross product are a rotation U, so `U Vᵀ` is the nearest one. Of M = 0 it
    is some rotation; what is not finite gives NaN.
    """
    columns = M.reshape(-1, 3, 3).permute(2, 1, 0).contiguous()
    scale = columns.abs().amax((0, 1))
    columns = columns / (scale + (scale == 0))
    identity = torch.eye(3, dtype=M.dtype, device=M.device)[:, :, None].expand_as(columns)
    # Each column of M above that of V: what is done to one is done to the other.
    # By length, which saves a sweep.
    stacked = _sorted(list(torch.cat([columns, identity], 1).unbind()))
    for _ in range(_SWEEPS):
        for i, j in _PAIRS:
            stacked[i], stacked[j] = _orthogonal(stacked[i], stacked[j])
    stacked = _sorted(stacked)
    first, second, third = (column[:3] for column in stacked)
    u = _unit(first)
    # A second column of rounding errors may have a part along the first.
    v = _unit(second - _dot(u, second) * u, _perpendicular(u))
    w = _cross(u, v)
    if not rotation:
        w = torch.copysign(torch.ones_like(scale), _dot(w, third)) * w
    x, y, z = (column[3:] for column in stacked)
    return _outward(u[:, None] * x + v[:, None] * y + w[:, None] * z, M.shape)


def polar_derivative(M: Tensor, Q: Tensor, G: Tensor) -> Tensor:
    """`dQ` of `dM = G`, and `∂L/∂M` of `∂L/∂Q = G`: all `(..., 3, 3)`, differentiable.

    `dQ = Q [x]×` with `(tr P·I − P) x = y`, where `P = QᵀM` is symmetric and `[y]×` is
    `QᵀG − GᵀQ`: the equation `[x]× P + P [x]× = [y]×` in three unknowns.
    """
    shape = G.shape
    M, Q, G = _inward(M), _inward(Q), _inward(G)
    P = _transposed_product(Q, M)
    # A factor that the solution does not depend on, against under- and overflow.
    trace = (P[0, 0] + P[1, 1] + P[2, 2]).detach()
    P = P / trace
    skew = _transposed_product(Q, G)
    y = (skew[2, 1] - skew[1, 2], skew[0, 2] - skew[2, 0], skew[1, 0] - skew[0, 1])
    x = _solve((P + P.transpose(0, 1)) / 2, y) / trace
    # Row by row.
    return _outward(_cross(Q.transpose(0, 1), x.unsqueeze(1)).transpose(0, 1), shape)


def _solve(P: Tensor, y: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """`x` `(3, batch)` with `(tr P·I − P) x = y`, by the adjugate."""
    a, b, c = P[1, 1] + P[2, 2], P[0, 0] + P[2, 2], P[0, 0] + P[1, 1]
    d, e, f = -P[0, 1], -P[0, 2], -P[1, 2]
    aa, bb, cc = b * c - f * f, a * c - e * e, a * b - d * d
    dd, ee, ff = e * f - c * d, d * f - b * e, d * e - a * f
    determinant = a * aa + d * dd + e * ee
    rows = (
        aa * y[0] + dd * y[1] + ee * y[2],
        dd * y[0] + bb * y[1] + ff * y[2],
        ee * y[0] + ff * y[1] + cc * y[2],
    )
    return torch.stack(rows) / determinant


def _orthogonal(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two columns `(6, batch)`, turned by at most 45° so that the upper halves are orthogonal."""
    upper_a, upper_b = a[:3], b[:3]
    difference = _dot(upper_a, upper_a) - _dot(upper_b, upper_b)
    product = 2 * _dot(upper_a, upper_b)
    # No turn where both are 0.
    tiny = torch.finfo(a.dtype).tiny
    hypotenuse = torch.hypot(difference, product) + tiny
    tangent = product / (difference + torch.copysign(hypotenuse, difference))
    # Smaller ones do nothing, but their products are denormal numbers, which are slow.
    tangent = torch.nn.functional.hardshrink(tangent, tiny**0.5)
    cosine = torch.rsqrt(tangent * tangent + 1)
    turned_b = torch.addcmul(b, tangent, a, value=-1)
    return torch.addcmul(a, tangent, b) * cosine, turned_b * cosine


def _sorted(stacked: list[Tensor]) -> list[Tensor]:
    """Longer upper halves first. Of two that change places one changes its sign: a rotation."""
    stacked = [*stacked]
    for i, j in ((0, 1), (1, 2), (0, 1)):
        a, b = stacked[i], stacked[j]
        swap = (_dot(b[:3], b[:3]) > _dot(a[:3], a[:3])).to(a.dtype)
        # What `where` gives, but several times faster: exact at 0 and at 1.
        stacked[i], stacked[j] = torch.lerp(a, b, swap), torch.lerp(b, -a, swap)
    return stacked


def _unit(a: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """`a` `(3, batch)` with length 1, and where it is 0 a unit vector, by default an axis."""
    largest = a.abs().amax(0)
    if otherwise is None:
        otherwise = torch.zeros_like(a)
        otherwise[0] = 1
    a = torch.where(largest == 0, otherwise, a / (largest + (largest == 0)))
    return a / _dot(a, a).sqrt()


def _perpendicular(u: Tensor) -> Tensor:
    """A unit vector `(3, batch)` at right angles to the unit vector `u` (Duff et al., 2017)."""
    x, y, z = u
    sign = torch.copysign(torch.ones_like(z), z)
    a = -1 / (sign + z)
    return torch.stack([1 + sign * x * x * a, sign * x * y * a, -sign * x])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """`a × b` along the first axis; torch's own takes several times as long."""
    return torch.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def _transposed_product(A: Tensor, B: Tensor) -> Tensor:
    """`AᵀB` `(3, 3, batch)`."""
    return A[0][:, None] * B[0] + A[1][:, None] * B[1] + A[2][:, None] * B[2]


def _inward(X: Tensor) -> Tensor:
    return X.reshape(-1, 3, 3).permute(1, 2, 0).contiguous()


def _outward(X: Tensor, shape: torch.Size) -> Tensor:
    return X.permute(2, 0, 1).reshape(shape)
