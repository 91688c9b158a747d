"""A few eigenpairs at one end of the spectrum, differentiated without the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigbench.errors import InputError
from eigbench.methods.base import Eigenpairs, symmetric_part
from eigbench.methods.calling import call, conventions, recording
from eigbench.methods.no_gradient import stopped, without_phases
from eigbench.phases import phase

_NOT_TWICE = (
    "leading_eigh has no second derivative: differentiate once, or decompose the whole matrix with "
    "eigbench.eigh(M, method='eigh')"
)
_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def leading_eigh(
    M: Tensor,
    k: int | None = None,
    *,
    largest: bool = True,
    pairs: tuple[Tensor, Tensor] | None = None,
) -> Eigenpairs:
    """The `k` largest or smallest eigenpairs of Hermitian `M` `(..., n, n)`, ascending.

    The backward pass needs those k alone: towards all other eigenvectors it solves
    `(λi I − M) z = (I − XXᴴ) ∂L/∂xi` by conjugate gradients, in the space orthogonal to X, where
    the matrix is definite. It costs products of M with k columns, more of them the closer the gap
    at the cut is. Gaps among the others do not matter; inside, the coefficient is 1/gap, and what
    a loss does not see of a tie, to the last digit, is left out.

    `pairs` are eigenvalues `(..., k)` and orthonormal eigenvectors `(..., n, k)` that somebody
    else has computed, such as `torch.lobpcg`, in any order; they come back with a gradient, which
    is as accurate as they are. Without them M is decomposed as a whole.

    The gradient is a Hermitian matrix. Raises `ValueError` for shapes and `TypeError` for dtypes
    that do not fit; `RuntimeError` in the backward pass where 10 n + 100 steps are not enough, as
    with a tie across the cut; `NotImplementedError` for a second derivative or forward mode. Since
    it looks at numbers to know when to stop, it takes batches, but not `torch.func.vmap`.
    """
    shape = tuple(M.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise InputError(f"M must be square matrices (..., n, n), not shape {shape}")
    if M.dtype not in _DTYPES:
        raise TypeError(
            "M must be float32, float64, complex64 or complex128, "
            f"not {str(M.dtype).removeprefix('torch.')}"
        )
    if pairs is None:
        values, X = _decomposed(M.detach(), k, largest=largest)
    else:
        values, X = (part.detach() for part in pairs)
        if X.shape[:-1] != M.shape[:-1] or values.shape != (*M.shape[:-2], X.shape[-1]):
            raise InputError(
                "pairs must be eigenvalues (..., k) and eigenvectors (..., n, k) of M, "
                f"not of shapes {tuple(values.shape)} and {tuple(X.shape)}"
            )
        if k not in (None, X.shape[-1]):
            raise InputError(f"k is {k}, but {X.shape[-1]} pairs are given")
    return Eigenpairs(*call(_LEADING, M, values, X, 1 if largest else -1))


def _decomposed(M: Tensor, k: int | None, *, largest: bool) -> tuple[Tensor, Tensor]:
    n = M.shape[-1]
    if type(k) is not int or not 1 <= k <= n:
        raise InputError(f"k must be a whole number from 1 to {n}, not {k!r}")
    with phase("decomposition"), torch.autocast(M.device.type, enabled=False):
        values, V = torch.linalg.eigh(M)
    chosen = slice(n - k, n) if largest else slice(0, k)
    return values[..., chosen], V[..., chosen]


class _Leading(torch.autograd.Function):
    """Pairs as they are, but as a result of M."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, values: Tensor, X: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        return values.clone(), X.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        M, values, X, ctx.sign = inputs
        ctx.save_for_backward(M, values, X)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        M, values, X = ctx.saved_tensors
        by_values, by_X = gradients
        if recording():
            X = stopped(X, M, _NOT_TWICE)
        constant = M.detach()
        with phase("coefficients"):
            A = X.mH @ by_X
            if A.is_complex():
                A = without_phases(A, by_X)
            turned = (A - A.mH) / 2
            gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
            core = torch.where(turned == 0, 0, turned / gaps)
            core = torch.diagonal_scatter(core, by_values.to(core.dtype), dim1=-2, dim2=-1)
        with phase("products"):
            outside = _outside(constant, values, X, by_X, ctx.sign)
            return X @ core @ X.mH + symmetric_part(outside @ X.mH), None, None, None


_LEADING = conventions(_Leading)


def _outside(M: Tensor, values: Tensor, X: Tensor, by_X: Tensor, sign: int) -> Tensor:
    """`z` `(..., n, k)` with `(λi I − M) zi = (I − XXᴴ) by_X i`, orthogonal to X.

    Conjugate gradients; `sign` makes the matrix positive definite there.
    """
    residual = direction = by_X - X @ (X.mH @ by_X)
    solution, size = torch.zeros_like(by_X), _squares(residual)
    target = _squares(by_X) * torch.finfo(by_X.dtype).eps ** 1.5  # of squares
    for _ in range(10 * M.shape[-1] + 100):
        if bool((size <= target).all()):
            return sign * solution
        moved = sign * (direction * values.unsqueeze(-2) - M @ direction)
        moved = moved - X @ (X.mH @ moved)
        curvature = (direction.conj() * moved).real.sum(-2, keepdim=True)
        step = torch.where(size > target, size / curvature, 0)
        solution, residual = solution + step * direction, residual - step * moved
        before, size = size, _squares(residual)
        direction = residual + torch.where(before > 0, size / before, 0) * direction
    raise RuntimeError(
        "the gradient of the leading eigenvectors did not converge: the gap between them and the "
        "next eigenvalue is closed, or nearly so; choose another number of pairs"
    )


def _squares(X: Tensor) -> Tensor:
    return X.abs().square().sum(-2, keepdim=True)
