"""Methods that compute the square root of M or its inverse, and nothing else."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.methods.base import Method, one_batch, symmetric_part
from eigbench.methods.functions import InverseSquareRoot, SpectralFunction, SquareRoot


class RootMethod(Method, abc.ABC):
    """A method for `M^(1/2)` and `M^(−1/2)` of positive definite M, which refuses the rest."""

    @abc.abstractmethod
    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """`M^(1/2)` or `M^(−1/2)` of symmetric `M` `(..., n, n)`, differentiable."""

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


def newton_schulz(M: Tensor, iterations: int, *, inverse: bool) -> Tensor:
    """The root that so many coupled Newton–Schulz iterations find, `(..., n, n)`.

    `Y ← YT` and `Z ← TZ` with `T = ½(3I − ZY)`, from `Y = M/tr M` and `Z = I`: Y tends to the
    square root of M/tr M and Z to its inverse (Higham, Functions of Matrices, 2008, Eq. 6.35).
    An eigenvalue of M/tr M near 0 needs about log(1/λ)/log 2.25 iterations to be found.
    """
    M, batch = one_batch(M), M.shape[:-2]
    trace = M.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    identity = identity_like(M)
    Y = M / trace
    # The first Z is I, and of the last two matrices only one is asked for.
    T = torch.add(1.5 * identity, Y, alpha=-0.5)
    Z = T
    if iterations > 1 or not inverse:
        Y = torch.bmm(Y, T)
    for step in range(1, iterations):
        T = torch.baddbmm(identity, Z, Y, beta=1.5, alpha=-0.5)
        last = step == iterations - 1
        Y = Y if last and inverse else torch.bmm(Y, T)
        Z = Z if last and not inverse else torch.bmm(T, Z)
    found = Z / trace.sqrt() if inverse else Y * trace.sqrt()
    return found.reshape(*batch, *found.shape[1:])
