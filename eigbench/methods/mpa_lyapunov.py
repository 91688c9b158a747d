"""Padé approximant of the root forward, Lyapunov equation backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import Promise
from eigbench.methods.lyapunov import LyapunovRoot
from eigbench.methods.roots import identity_like

DEGREE = 5
_ORDER = 2 * DEGREE + 1
NUMERATOR = [math.comb(_ORDER, 2 * j) for j in range(DEGREE + 1)]
DENOMINATOR = [math.comb(_ORDER, 2 * j + 1) for j in range(DEGREE + 1)]
"""Of the [5/5] approximant of √a about a = 1, in powers of a.

With w = √a, `w ((1 + w)^11 + (1 − w)^11)/((1 + w)^11 − (1 − w)^11)` is a rational function of w²
of these degrees, and equals w up to a relative error of `2((1 − w)/(1 + w))^11`.
"""


@dataclass(frozen=True)
class MpaLyapunov(LyapunovRoot):
    """Matrix Padé approximant [5/5] of the root of `M/‖M‖`, one linear solve, no decomposition.

    An eigenvalue a of M/‖M‖ is rooted with a relative error of about `2((1 − √a)/(1 + √a))^11`:
    3e-6 at a = 0.3, 9e-2 at a = 0.02. The released program takes one norm over the whole batch in
    its backward pass, so that a gradient depends on its neighbours; here each matrix has its own.
    """

    name: ClassVar[str] = "mpa-lyapunov"
    summary: ClassVar[str] = "matrix Padé root forward; Lyapunov equation backward (MPA-Lya)"
    source: ClassVar[str] = "Song et al., Fast Differentiable Matrix Square Root, ICLR 2022"
    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})

    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """`P(A)/Q(A)`, or the inverse of it."""
        powers = [identity_like(A), A]
        while len(powers) <= DEGREE:
            powers.append(powers[-1] @ A)
        P, Q = (_combined(powers, weights) for weights in (NUMERATOR, DENOMINATOR))
        # Not `solve`, which waits for a GPU to say whether a system was singular.
        root: Tensor = torch.linalg.solve_ex(P, Q)[0] if inverse else torch.linalg.solve_ex(Q, P)[0]
        return root


def _combined(powers: list[Tensor], weights: list[int]) -> Tensor:
    return sum((w * X for w, X in zip(weights, powers, strict=True)), torch.zeros_like(powers[1]))
