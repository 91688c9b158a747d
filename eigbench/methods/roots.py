"""Methods that compute the square root of M or its inverse, and nothing else."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import Method, one_batch, real_diagonal, symmetric_part
from eigbench.methods.functions import InverseSquareRoot, SpectralFunction, SquareRoot

Step = tuple[float, float, float]
"""a, b and c of the odd polynomial `a x + b x³ + c x⁵`, which takes some x nearer to 1."""
NEWTON_SCHULZ: Step = (1.5, -0.5, 0.0)


class RootMethod(Method, abc.ABC):
    """A method for `M^(1/2)` and `M^(−1/2)` of positive definite M, which refuses the rest."""

    @abc.abstractmethod
    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """`M^(1/2)` or `M^(−1/2)` of Hermitian `M` `(..., n, n)`, differentiable."""

    def matrix_function(self, M: Tensor, function: SpectralFunction) -> Tensor:
        """`f(M)` `(..., n, n)` for one of the two roots; `NotApplicable` for another function."""
        reason = self.function_refusal(function)
        if reason is not None:
            raise NotApplicable(reason)
        return self.root(symmetric_part(M), inverse=isinstance(function, InverseSquareRoot))

    def function_refusal(self, function: SpectralFunction) -> str | None:
        """The reason for any function but the two roots."""
        if isinstance(function, (SquareRoot, InverseSquareRoot)):
            return None
        return f"{self.name} computes M^(1/2) and M^(−1/2), and no other function of M"


def identity_like(M: Tensor) -> Tensor:
    """The identity `(n, n)` in the dtype and on the device of `M` `(..., n, n)`."""
    return torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)


def scaled(
    M: Tensor, bound: Callable[[Tensor], Tensor], root: Callable[[Tensor], Tensor], power: float
) -> Tensor:
    """`root(M)` `(..., n, n)` of M divided by `bound(M)`, and so scaled back: a `power` of M.

    `bound` and `root` take `(batch, n, n)`; the scale is a constant to the gradient.
    """
    # Of moderate size first, so that no square under- or overflows.
    size = largest(M)
    A = one_batch(M / size)
    scale = bound(A.detach())
    found = root(A / scale) * scale**power
    return found.reshape(M.shape) * size**power


def largest(M: Tensor) -> Tensor:
    """The largest magnitude `(..., 1, 1)`, without a gradient, and above 0."""
    if not M.numel():
        return torch.ones_like(M[..., :1, :1])
    # `vector_norm` takes six times as long, of 64 matrices 16×16.
    found = M.detach().abs().amax((-2, -1), keepdim=True)
    # A matrix of zeros is divided by this too.
    positive: Tensor = found.clamp(min=torch.finfo(M.dtype).tiny)
    return positive


def newton_schulz(M: Tensor, iterations: int, *, inverse: bool) -> Tensor:
    """The root that so many coupled Newton–Schulz iterations find, `(..., n, n)`.

    They start from M/tr M. An eigenvalue of it near 0 needs about log(1/λ)/log 2.25 iterations.
    """
    A = one_batch(M)
    trace = real_diagonal(A).sum(-1)[:, None, None]
    found = coupled(A / trace, (NEWTON_SCHULZ,) * iterations, inverse=inverse)
    found = found / trace.sqrt() if inverse else found * trace.sqrt()
    return found.reshape(M.shape)


def coupled(A: Tensor, schedule: Sequence[Step], *, inverse: bool) -> Tensor:
    """An approximation of `A^(1/2)` or `A^(−1/2)` of `A` `(batch, n, n)`, by products alone.

    `Y ← YT` and `Z ← TZ` with `T = aI + bP + cP²` and `P = ZY`, from `Y = A` and `Z = I`: P has the
    squares of x, which a step takes to `a x + b x³ + c x⁵`, from √λ on. As they tend to 1, Y tends
    to the root and Z to its inverse (Higham, Functions of Matrices, 2008, Eq. 6.35).
    """
    identity = identity_like(A)
    Y, Z = A, None
    for number, step in enumerate(schedule, 1):
        T = _factor(identity, Y, Z, step)
        # The first Z is I, and of the last two matrices only one is asked for.
        last = number == len(schedule)
        Y = Y if last and inverse else torch.bmm(Y, T)
        if inverse or not last:
            Z = T if Z is None else torch.bmm(T, Z)
    return Z if inverse and Z is not None else Y


def _factor(identity: Tensor, Y: Tensor, Z: Tensor | None, step: Step) -> Tensor:
    """`aI + bP + cP²` with `P = ZY`; Z is None for I."""
    a, b, c = step
    if c == 0:
        if Z is None:
            return torch.add(a * identity, Y, alpha=b)
        return torch.baddbmm(identity, Z, Y, beta=a, alpha=b)
    P = Y if Z is None else torch.bmm(Z, Y)
    return torch.baddbmm(identity, P, torch.add(b * identity, P, alpha=c), beta=a)
