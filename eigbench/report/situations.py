"""The situations in which methods are judged: fixed sets of matrices, named by the mathematics.

A number of a report belongs to one situation, one loss and one precision; situations are never
pooled. Which one a matrix belongs to follows from what is known of it, and never from a method.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from eigbench import algorithm_1

OPEN = 5e-4
"""Gaps are open from this smallest relative gap on: of 1e-3, ε leaves a little less."""

TIE = 1e-12
"""Below this relative gap two eigenvalues are equal, but for the rounding of float64."""

DOUBT = 0.1
"""A matrix is ill conditioned where n·u·κ is larger, u being the spacing of float32 at 1.

‖M‖·n·u bounds what float32 makes of an eigenvalue, so that the smallest one may then be off by more
than a tenth. The set is the same for every precision.
"""

EPSILON = algorithm_1.EPSILON
"""The paper's ε (§2.3). Another one makes other matrices: they are reported by ε, not here.

A run without it has situations at the first of its own that is not 0.
"""

REAL = ("cifar-patches", "cifar-conv")


SITUATIONS = {
    "open gaps": "built; the smallest relative gap is 5e-4 or more",
    "closing gaps": "built; the smallest relative gap is below 5e-4 and not 0",
    "one tied pair": "built; two eigenvalues are equal, and no others",
    "many ties": "built; many are equal: identity, dead channels, clusters, zeros",
    "well-conditioned covariances":
        "of CIFAR-10 features; float32 resolves every eigenvalue: n·u·κ ≤ 0.1",
    "ill-conditioned covariances": "of CIFAR-10 features with n·u·κ > 0.1",
    "scaled matrices": "built, times a factor that is not 1",
    "your matrices": "from your file, whatever they are",
}  # fmt: skip
"""By name, which matrices."""
NAMES = tuple(SITUATIONS)
OPEN_GAPS, CLOSING_GAPS, TIED_PAIR, MANY_TIES, REAL_WELL, REAL_ILL, SCALED, YOURS = NAMES

ONE_PAIR = (
    (pl.col("spectrum") == "gap")
    | (pl.col("spectrum").is_in(("cluster", "rank-deficient")) & (pl.col("d") <= 5))
    | (pl.col("d") == 2)
)
"""Where a tie is of two eigenvalues by the definition of the spectrum: half of five is two."""


def classified(frame: pl.DataFrame, point: Sequence[str]) -> pl.DataFrame:
    """`frame`, a row a case and matrix, with a column `situation`; null outside of all.

    What is known of a matrix is the same for all methods, so that one which failed takes it from
    the others at the same `point`.
    """
    known = {
        name: pl.col(name).max().over(point) if name in frame.columns else pl.lit(None, pl.Float64)
        for name in ("condition_number", "smallest_relative_gap")
    }
    gap, condition = known["smallest_relative_gap"], known["condition_number"]
    ill = pl.col("d") * float(np.finfo(np.float32).eps) * condition > DOUBT
    situation = (
        pl.when(pl.col("scale") != 1).then(pl.lit(SCALED))
        .when(pl.col("epsilon") != usual_epsilon(frame)).then(None)
        .when(pl.col("spectrum") == "file").then(pl.lit(YOURS))
        .when(pl.col("spectrum").is_in(REAL) & ill).then(pl.lit(REAL_ILL))
        .when(pl.col("spectrum").is_in(REAL) & condition.is_not_null()).then(pl.lit(REAL_WELL))
        .when((gap < TIE) & ONE_PAIR).then(pl.lit(TIED_PAIR))
        .when(gap < TIE).then(pl.lit(MANY_TIES))
        .when(gap < OPEN).then(pl.lit(CLOSING_GAPS))
        .when(gap.is_not_null()).then(pl.lit(OPEN_GAPS))
    )  # fmt: skip
    return frame.with_columns(situation=situation.cast(pl.String))


def usual_epsilon(frame: pl.DataFrame) -> float:
    """The ε of the situations of a run: the paper's, or else the first of its own above 0."""
    own = [float(value) for value in frame["epsilon"].unique(maintain_order=True)]
    if EPSILON in own or not own:
        return EPSILON
    return next((value for value in own if value > 0), own[0])


def present(frame: pl.DataFrame) -> list[str]:
    """The situations that a frame has rows of, in their order."""
    found = set(frame["situation"]) if "situation" in frame.columns else set()
    return [name for name in NAMES if name in found]
