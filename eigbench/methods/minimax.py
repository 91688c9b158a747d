"""Scheduled Newton–Schulz iteration: each step by the polynomial that is best for what is left."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from eigbench.methods.base import Parameter, Promise, require_count, require_positive
from eigbench.methods.calling import constant_when_compiled
from eigbench.methods.lyapunov import LyapunovRoot
from eigbench.methods.roots import NEWTON_SCHULZ, Step, coupled

NEAR = 0.02
"""How near to 1 the schedule comes before the plain steps: they leave 6e-4, then 6e-7."""
SLACK = 3.0
"""By how much √‖M‖ may exceed √λmax: n^(1/4) at most, so 3 is enough up to n = 81."""


@dataclass(frozen=True)
class Cans(LyapunovRoot):
    """Coupled iteration by the best cubic for each step, and plain steps at the end.

    Of all odd cubics a step takes the one that is nearest to 1 on the interval in which the √λ of
    M/‖M‖ are by then, from λmin on, which is what `condition` says of M at most. So small
    eigenvalues grow 2.6-fold in a step instead of 1.5-fold, and no eigenvalue is known. The error
    of such a polynomial ripples over the interval, and its derivative more: `polish` plain
    Newton–Schulz steps make it flat.

    Backward the Lyapunov equation of the root is solved by the same schedule, with memory that does
    not depend on the steps; with `lyapunov=False` autograd follows the steps back, the scale a
    constant.
    """

    name: ClassVar[str] = "cans"
    summary: ClassVar[str] = "Newton–Schulz by the best cubic for each step; Lyapunov backward"
    source: ClassVar[str] = "Grishina et al., CANS, arXiv:2506.10935, 2025"
    promises: ClassVar[frozenset[Promise]] = frozenset(
        {"functions", "finite", "scale", "continuous"}
    )
    converged: ClassVar[Mapping[str, Parameter]] = {"polish": 4}
    precision: ClassVar[Literal["input", "float64"]] = "float64"
    degree: ClassVar[int] = 3

    condition: float = 1e6
    polish: int = 2
    lyapunov: bool = True

    def __post_init__(self) -> None:
        require_positive("condition", self.condition)
        require_count("polish", self.polish)

    def schedule(self) -> tuple[Step, ...]:
        """The steps, forward and backward."""
        lower = 1 / (SLACK * math.sqrt(max(self.condition, 1.0)))
        steps: tuple[Step, ...] = schedule(self.degree, lower)
        return steps + (NEWTON_SCHULZ,) * self.polish

    def approximate(self, A: Tensor, *, inverse: bool) -> Tensor:
        """The last iterate."""
        return coupled(A, self.schedule(), inverse=inverse)

    @property
    def through_steps(self) -> bool:
        """Whether autograd follows `approximate`."""
        return not self.lyapunov


@dataclass(frozen=True)
class PolarExpress(Cans):
    """As `cans`, by the best quintic for each step: 4-fold growth by four products.

    `cans` has 2.6-fold growth by three.
    """

    name: ClassVar[str] = "polar-express"
    summary: ClassVar[str] = "Newton–Schulz by the best quintic for each step; Lyapunov backward"
    source: ClassVar[str] = "Amsel et al., The Polar Express, arXiv:2505.16932, 2025"
    degree: ClassVar[int] = 5


@constant_when_compiled
def schedule(degree: int, lower: float) -> tuple[Step, ...]:
    """The steps of an odd `degree`, 3 or 5, that take `[lower, 1]` to 1 ± `NEAR`.

    Each is the best for the interval to which the ones before take it. No other composition of as
    many such polynomials comes nearer to 1 (Amsel et al., Theorem 3.1).
    """
    return _schedule(degree, lower)


@functools.lru_cache(maxsize=64)
def _schedule(degree: int, lower: float) -> tuple[Step, ...]:
    steps: list[Step] = []
    upper = 1.0
    while upper - lower > 2 * NEAR:
        step, error = best_cubic(lower, upper) if degree == 3 else best_quintic(lower, upper)
        steps.append(step)
        lower, upper = 1 - error, 1 + error
    return tuple(steps)


def best_cubic(lower: float, upper: float) -> tuple[Step, float]:
    """The `a x + b x³` that is nearest to 1 on `[lower, upper]`, and its largest error.

    That is reached at both ends from below, and from above between them, where the slope is 0.
    """
    squares = lower * lower + lower * upper + upper * upper
    # a = −b · squares has the same value at both ends, and its largest at √(squares/3).
    highest, end = 2 * (squares / 3) ** 1.5, lower * upper * (lower + upper)
    b = -2 / (highest + end)
    return (-b * squares, b, 0.0), 1 + b * end


def best_quintic(lower: float, upper: float) -> tuple[Step, float]:
    """The `a x + b x³ + c x⁵` that is nearest to 1 on `[lower, upper]`, and its largest error.

    By Remez' exchange: with the points at which the error has its largest size, in turn below and
    above, three linear equations give the coefficients, and they the points.
    """
    first, second = (3 * lower + upper) / 4, (lower + 3 * upper) / 4
    for _ in range(50):
        a, b, c = _equal_errors(lower, first, second, upper)
        root = math.sqrt(9 * b * b - 20 * a * c)
        before = first, second
        first, second = (math.sqrt((-3 * b - s * root) / (10 * c)) for s in (1, -1))
        if abs(first - before[0]) + abs(second - before[1]) < 1e-12 * upper:
            break
    return (a, b, c), 1 - lower * (a + lower * lower * (b + lower * lower * c))


def _equal_errors(*points: float) -> Step:
    """The polynomial whose values at neighbours of the four points have the sum 2."""
    rows = [[x + y, x**3 + y**3, x**5 + y**5, 2.0] for x, y in itertools.pairwise(points)]
    for place in range(3):
        for other in range(3):
            if other != place:
                share = rows[other][place] / rows[place][place]
                rows[other] = [x - share * y for x, y in zip(rows[other], rows[place], strict=True)]
    a, b, c = (rows[place][3] / rows[place][place] for place in range(3))
    return a, b, c
