"""The polar factor of many real 3×3 matrices at once: every step is elementwise over the batch.

Inside, matrices are `(3, 3, batch)`: batched products of matrices so small take more time than all
that is done here. A symmetric matrix is its diagonal d and, beside `d[i]`, the entry o[i] in the
other two rows: both `(3, batch)`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def polar_factor(M: Tensor, *, rotation: bool) -> Tensor:
    """The orthogonal matrix `(..., 3, 3)` nearest to `M`, or the nearest rotation; no gradient.

    Of `MᵀM` the eigenvector that is furthest from the others in eigenvalue is found from its
    characteristic polynomial, which is well conditioned for this one, and the other two by a
    rotation that makes two columns of `M V` orthogonal (Hestenes, 1958). The columns, made unit
    vectors from the longest on, are U, with the cross product as the last one, so `U Vᵀ` is a
    rotation, and the nearest one but for rounding of M. Of M = 0 it is some rotation; what is not
    finite gives NaN.
    """
    columns = M.reshape(-1, 3, 3).permute(2, 1, 0).contiguous()
    scale = columns.abs().amax((0, 1))
    nothing = scale == 0
    columns = columns / (scale + nothing)
    v, longest = _isolated(columns)
    x = _perpendicular(v)
    V = torch.stack([v, x, _cross(v, x)])
    # Each column of M V above that of V: what is done to one is done to the other.
    MV = columns[0] * V[:, :1]
    MV = torch.addcmul(torch.addcmul(MV, columns[1], V[:, 1:2]), columns[2], V[:, 2:])
    alone, longer, shorter = torch.cat([MV, V], 1).unbind()
    longer, shorter = _orthogonal(longer, shorter)
    # What `where` gives, but several times faster: exact at 0 and at 1.
    first = torch.lerp(longer, alone, longest)
    second = torch.lerp(shorter, longer, longest)
    third = torch.lerp(alone, shorter, longest)
    first[0] += nothing
    u = _unit(first[:3])
    # Where there is nothing but u, some other direction, far below what M is known to.
    other = _perpendicular(u)
    w = torch.add(_without(u, second[:3]), other, alpha=torch.finfo(M.dtype).eps ** 2)
    # Of a difference of rounding errors much may lie along u: once more.
    w = _unit(_without(u, _unit(w)))
    last = _cross(u, w)
    if not rotation:
        last = last * torch.copysign(torch.ones_like(scale), _dot(last, third[:3]))
    Q = u[:, None] * first[3:]
    Q = torch.addcmul(torch.addcmul(Q, w[:, None], second[3:]), last[:, None], third[3:])
    return _outward(Q, M.shape)


def polar_derivative(M: Tensor, Q: Tensor, G: Tensor) -> Tensor:
    """`dQ` of `dM = G`, and `∂L/∂M` of `∂L/∂Q = G`: all `(..., 3, 3)`, differentiable.

    `dQ = Q [x]×` with `(tr P·I − P) x = y`, where `P = QᵀM` is symmetric and `[y]×` is
    `QᵀG − GᵀQ`: the equation `[x]× P + P [x]× = [y]×` in three unknowns.
    """
    shape = G.shape
    # Rows in the first axis, columns in the second, of which two are there once more.
    M, Q, G = (_again(X.reshape(-1, 3, 3).permute(1, 2, 0).contiguous(), 1) for X in (M, Q, G))
    y = torch.addcmul(Q[:, 2:] * G[:, 1:4], Q[:, 1:4], G[:, 2:], value=-1).sum(0)
    o = torch.addcmul(Q[:, 2:] * M[:, 1:4], Q[:, 1:4], M[:, 2:]).sum(0)
    d = (Q[:, :3] * M[:, :3]).sum(0)
    trace = d.sum(0)
    # A factor that the solution does not depend on, against under- and overflow.
    inverse = 1 / trace.detach()
    d, o = (trace - d) * inverse, o * (-0.5 * inverse)
    diagonal, beside = _adjugate(d, o)
    determinant = torch.addcmul(torch.addcmul(d[0] * diagonal[0], o[1], beside[1]), o[2], beside[2])
    x = _again(_times(diagonal, beside, y) * (inverse / determinant))
    found = torch.addcmul(Q[:, 1:4] * x[2:], Q[:, 2:], x[1:4], value=-1)
    return _outward(found, shape)


def _isolated(columns: Tensor) -> tuple[Tensor, Tensor]:
    """The unit eigenvector of `MᵀM` furthest from the others in eigenvalue: `(3, batch)`.

    With 1 where the eigenvalue is the largest, 0 where it is the smallest: `(batch,)`. Shifted
    and scaled the eigenvalues are `2 cos φ`, with three angles that are 120° apart (Smith, Comm.
    ACM 4, 1961), and the one with the largest magnitude is √3 or more away from the others.
    """
    a, b, c = columns
    d, o = (columns * columns).sum(1), torch.stack([_dot(b, c), _dot(a, c), _dot(a, b)])
    d = d - d.mean(0)
    d = d - d.mean(0)  # rounding may have left a trace as large as d
    size = (torch.addcmul(d * d, o, o, value=2).sum(0) / 6).sqrt()
    size = size + (size == 0)
    d, o = d / size, o / size
    half = torch.addcmul(d[0] * d[1] * d[2] / 2, o[0] * o[1], o[2])
    half = half - (d * o * o).sum(0) / 2
    is_largest = (half >= 0).to(d.dtype)
    sign = 2 * is_largest - 1
    # A larger cosine is of rounding.
    largest = 2 * (half.abs().clamp(max=1).acos() / 3).cos()
    diagonal, beside = _adjugate(torch.addcmul(-largest, d, sign), o * sign)
    # A multiple of v vᵀ, of which the column with the largest diagonal entry is v. Of several it
    # is a sum in which columns that are each other's opposites do not cancel.
    share = 1 / torch.arange(1, 4, dtype=d.dtype, device=d.device)[:, None]
    v = _times(diagonal, beside, (diagonal >= diagonal.amax(0)) * share)
    return _unit(v), is_largest


def _orthogonal(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two columns `(6, batch)`, turned to have orthogonal upper halves, the longer first."""
    difference = _dot(a[:3], a[:3]) - _dot(b[:3], b[:3])
    product = 2 * _dot(a[:3], b[:3])
    # No turn where both are 0.
    size = torch.hypot(difference, product) + torch.finfo(a.dtype).tiny
    tangent = product / (difference.abs() + size)
    cosine = torch.rsqrt(tangent * tangent + 1)
    sine = tangent * cosine
    # By more than 45° where b is the longer one: cosine and sine change places.
    swap = (difference < 0).to(a.dtype)
    cosine, sine = (
        torch.lerp(cosine, sine.abs(), swap),
        torch.lerp(sine, torch.copysign(cosine, product), swap),
    )
    return torch.addcmul(a * cosine, b, sine), torch.addcmul(b * cosine, a, sine, value=-1)


def _adjugate(d: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
    """That of a symmetric matrix, as that is given."""
    twice_d, twice_o = _again(d), _again(o)
    diagonal = torch.addcmul(twice_d[1:4] * twice_d[2:], o, o, value=-1)
    return diagonal, torch.addcmul(twice_o[1:4] * twice_o[2:], d, o, value=-1)


def _times(d: Tensor, o: Tensor, x: Tensor) -> Tensor:
    """The symmetric matrix times `x` `(3, batch)`."""
    o, twice = _again(o), _again(x)
    return torch.addcmul(torch.addcmul(d * x, o[2:], twice[1:4]), o[1:4], twice[2:])


def _perpendicular(u: Tensor) -> Tensor:
    """A unit vector `(3, batch)` at right angles to the unit vector `u` (Duff et al., 2017)."""
    x, y, z = u
    sign = torch.copysign(torch.ones_like(z), z)
    a = x / (sign + z)
    return torch.stack([1 - sign * x * a, -sign * y * a, -sign * x])


def _without(u: Tensor, a: Tensor) -> Tensor:
    """`a` without its part along the unit vector `u`."""
    return torch.addcmul(a, _dot(u, a), u, value=-1)


def _unit(a: Tensor) -> Tensor:
    return a / _dot(a, a).sqrt()  # 1 of an axis, where `rsqrt` rounds


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """`a × b` along the first axis; torch's own takes several times as long."""
    a, b = _again(a), _again(b)
    return torch.addcmul(a[1:4] * b[2:], a[2:], b[1:4], value=-1)


def _again(X: Tensor, axis: int = 0) -> Tensor:
    """`X` with the first two of the three slices once more behind it: every cyclic order."""
    return torch.cat([X, X.narrow(axis, 0, 2)], axis)


def _outward(X: Tensor, shape: torch.Size) -> Tensor:
    return X.permute(2, 0, 1).reshape(shape)
