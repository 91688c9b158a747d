"""Taylor polynomial of the root forward, Lyapunov equation backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from eigbench.methods.base import Promise
from eigbench.methods.lyapunov import LyapunovRoot
from eigbench.methods.roots import identity_like

DEGREE = 10


@dataclass(frozen=True)
class MtpLyapunov(LyapunovRoot):
    """Matrix Taylor polynomial, 10 terms in `I − M/‖M‖`: nothing but matrix products.

    The series converges slowly where an eigenvalue is small beside the norm: what comes out is a
    polynomial of M, far from the root there.
    """

    name: ClassVar[str] = "mtp-lyapunov"
    summary: ClassVar[str] = "matrix Taylor root forward; Lyapunov equation backward (MTP-Lya)"
    source: ClassVar[str] = "Song et al., Fast Differentiable Matrix Square Root, ICLR 2022"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})

    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """`Σ aₖ (I − A)ᵏ`, by Horner's rule."""
        identity = identity_like(A)
        weights = binomial_series(-0.5 if inverse else 0.5, DEGREE)
        rest = identity - A
        total = weights[-1] * identity.expand_as(A)
        for weight in reversed(weights[:-1]):
            total = total @ rest + weight * identity
        return total


def binomial_series(power: float, degree: int) -> list[float]:
    """The coefficients of `(1 − z)^power` up to `z^degree`."""
    weights = [1.0]
    for k in range(1, degree + 1):
        weights.append(weights[-1] * (k - 1 - power) / k)
    return weights
