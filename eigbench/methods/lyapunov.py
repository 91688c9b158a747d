"""An approximate matrix root forward; backward the Lyapunov equation that the root satisfies.

With `R = M^(1/2)`, `dM = R dR + dR R`, so `∂L/∂M` is the X that solves `RX + XR = ∂L/∂R`. With
`S = M^(−1/2)`, `−S² dM S² = S dS + dS S`, so it solves `SX + XS = −S² (∂L/∂S) S²`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import (
    HERMITIAN,
    Promise,
    WithoutEigenpairs,
    frobenius_norm,
    one_batch,
    product,
    require_count,
    symmetric_part,
)
from eigbench.methods.calling import call, conventions
from eigbench.methods.no_gradient import save, saved
from eigbench.methods.roots import (
    NEWTON_SCHULZ,
    RootMethod,
    Step,
    identity_like,
    largest,
    scaled,
)
from eigbench.phases import phase


@dataclass(frozen=True)
class LyapunovRoot(WithoutEigenpairs, RootMethod):
    """What methods of this kind share: all but the approximation of the root."""

    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN

    @property
    def through_steps(self) -> bool:
        """Whether autograd follows the approximation, and no Lyapunov equation is solved."""
        return False

    @abc.abstractmethod
    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """`A^(1/2)` or `A^(−1/2)` of `A` `(batch, n, n)` with Frobenius norm 1, about."""

    @abc.abstractmethod
    def schedule(self) -> tuple[Step, ...]:
        """The steps by which the Lyapunov equation is solved."""

    def root(self, M: Tensor, *, inverse: bool) -> Tensor:
        """The root, with the solution of the Lyapunov equation as its gradient."""
        if self.through_steps:
            return _scaled_root(M, self, inverse=inverse)
        root: Tensor = call(_ROOT, M, self, inverse)
        return root


def _scaled_root(M: Tensor, method: LyapunovRoot, *, inverse: bool) -> Tensor:
    with phase("products"):
        approximate = partial(method.approximate, inverse=inverse)
        return scaled(M, frobenius_norm, approximate, -0.5 if inverse else 0.5)


class _Root(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, method: LyapunovRoot, inverse: bool) -> Tensor:  # noqa: FBT001
        return _scaled_root(M, method, inverse=inverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, LyapunovRoot, bool], output: Tensor) -> None:
        save(ctx, inputs[0], output)
        ctx.schedule, ctx.inverse = inputs[1].schedule(), inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (root,) = saved(ctx)
        return _derivative(ctx, root, gradients[0]), None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Tensor) -> Tensor:
        """The same map: it is its own transpose."""
        (root,) = saved(ctx, forward=True)
        return _derivative(ctx, root, tangents[0])


def _derivative(ctx: Any, root: Tensor, right: Tensor) -> Tensor:
    """`∂L/∂M` of `∂L/∂R`, and `dR` of `dM`."""
    with phase("products"):
        right = symmetric_part(right)
        # With R = size · B: B X + X B = right/size, or −size³ B² right B².
        size = largest(root)
        B = root / size
        if ctx.inverse:
            squared = product(B, B)
            right = symmetric_part(-product(product(squared, right), squared))
        X = solve_lyapunov(B, right, ctx.schedule)
        return X * size * size * size if ctx.inverse else X / size


_ROOT = conventions(_Root)


def solve_lyapunov(R: Tensor, right: Tensor, schedule: Sequence[Step]) -> Tensor:
    """X with `RX + XR = right`, all Hermitian `(..., n, n)` and R positive definite.

    By the sign of `[[R, right], [0, −R]]` (Roberts, 1980), whose corner tends to 2X. Each step
    takes such a matrix S to `S (aI + bS² + cS⁴)`: Newton–Schulz with (1.5, −0.5, 0). It starts from
    `R/√‖R²‖`, the Frobenius norm of each matrix and not of the batch. By Newton–Schulz an
    eigenvalue grows by at most 1.5 in a step: one below `1.5^(−steps)` is not reached.
    """
    B, C = one_batch(R), one_batch(right)
    squared = torch.bmm(B, B)
    norm = frobenius_norm(squared)
    length = norm.sqrt()
    B, C, squared = B / length, C / length, squared / norm
    for number, step in enumerate(schedule, 1):
        (a, b, c), last = step, number == len(schedule)
        if number > 1:
            squared = torch.bmm(B, B)
        once = torch.bmm(B, C)
        # B and C are Hermitian, and stay so: half of C is enough.
        if c == 0:
            half = torch.baddbmm(C, B, once, beta=a / 2, alpha=b)
            half = torch.baddbmm(half, once, B, alpha=-b / 2)
            grown = B if last else torch.baddbmm(B, B, squared, beta=a, alpha=b)
        else:
            # S² = [[B², BC − CB], [0, B²]], and the same once more.
            T = torch.add(a * identity_like(B), squared, alpha=b)
            T = torch.baddbmm(T, squared, squared, alpha=c)
            corner = once - once.mH
            twice = torch.bmm(squared, corner)
            corner = torch.add(b * corner, twice - twice.mH, alpha=c)
            half = torch.baddbmm(torch.bmm(C, T), B, corner, beta=0.5, alpha=0.5)
            grown = B if last else torch.bmm(B, T)
        C = half + half.mH
        # What rounding adds that is not Hermitian would grow in all but plain steps.
        B = grown if step == NEWTON_SCHULZ else symmetric_part(grown)
    return (C / 2).reshape(right.shape)


@dataclass(frozen=True)
class _Released(LyapunovRoot):
    """Newton–Schulz steps for the Lyapunov equation, as in the program of the source."""

    promises: ClassVar[frozenset[Promise]] = frozenset({"finite", "scale", "continuous"})

    sign_steps: int = 8

    def __post_init__(self) -> None:
        require_count("sign_steps", self.sign_steps)

    def schedule(self) -> tuple[Step, ...]:
        """Plain ones."""
        return (NEWTON_SCHULZ,) * self.sign_steps


PADE_DEGREE = 5
_ORDER = 2 * PADE_DEGREE + 1
NUMERATOR = [math.comb(_ORDER, 2 * j) for j in range(PADE_DEGREE + 1)]
DENOMINATOR = [math.comb(_ORDER, 2 * j + 1) for j in range(PADE_DEGREE + 1)]
"""Of the [5/5] approximant of √a about a = 1, in powers of a.

With w = √a, `w ((1 + w)^11 + (1 − w)^11)/((1 + w)^11 − (1 − w)^11)` is a rational function of w²
of these degrees, and equals w up to a relative error of `2((1 − w)/(1 + w))^11`.
"""


@dataclass(frozen=True)
class MpaLyapunov(_Released):
    """Matrix Padé approximant [5/5] of the root of `M/‖M‖`, one linear solve, no decomposition.

    An eigenvalue a of M/‖M‖ is rooted with a relative error of about `2((1 − √a)/(1 + √a))^11`:
    3e-6 at a = 0.3, 9e-2 at a = 0.02. The released program takes one norm over the whole batch in
    its backward pass, so that a gradient depends on its neighbours; here each matrix has its own.
    """

    name: ClassVar[str] = "mpa-lyapunov"
    summary: ClassVar[str] = "matrix Padé root forward; Lyapunov equation backward (MPA-Lya)"
    source: ClassVar[str] = "Song et al., Fast Differentiable Matrix Square Root, ICLR 2022"

    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """`P(A)/Q(A)`, or the inverse of it."""
        identity, power = identity_like(A), A
        P, Q = (
            torch.add(identity * weights[0], A, alpha=weights[1])
            for weights in (NUMERATOR, DENOMINATOR)
        )
        for p, q in zip(NUMERATOR[2:], DENOMINATOR[2:], strict=True):
            power = torch.bmm(power, A)
            P, Q = torch.add(P, power, alpha=p), torch.add(Q, power, alpha=q)
        # Not `solve`, which waits for a GPU to say whether a system was singular.
        root: Tensor = torch.linalg.solve_ex(P, Q)[0] if inverse else torch.linalg.solve_ex(Q, P)[0]
        return root


TAYLOR_DEGREE = 10


@dataclass(frozen=True)
class MtpLyapunov(_Released):
    """Matrix Taylor polynomial, 10 terms in `I − M/‖M‖`: nothing but matrix products.

    The series converges slowly where an eigenvalue is small beside the norm: what comes out is a
    polynomial of M, far from the root there.
    """

    name: ClassVar[str] = "mtp-lyapunov"
    summary: ClassVar[str] = "matrix Taylor root forward; Lyapunov equation backward (MTP-Lya)"
    source: ClassVar[str] = "Song et al., Fast Differentiable Matrix Square Root, ICLR 2022"

    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """`Σ aₖ (I − A)ᵏ`, by Horner's rule."""
        identity = identity_like(A)
        weights = binomial_series(-0.5 if inverse else 0.5, TAYLOR_DEGREE)
        rest = identity - A
        total = weights[-1] * rest + weights[-2] * identity
        for weight in reversed(weights[:-2]):
            total = torch.baddbmm(identity, total, rest, beta=weight)
        return total


def binomial_series(power: float, degree: int) -> list[float]:
    """The coefficients of `(1 − z)^power` up to `z^degree`."""
    weights = [1.0]
    for k in range(1, degree + 1):
        weights.append(weights[-1] * (k - 1 - power) / k)
    return weights
