"""The paper's SVD baseline as its authors' program runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eigbench.methods.svd import Svd


@dataclass(frozen=True)
class SvdReleased(Svd):
    """`svd`, whose whitening layer truncates as the released program does.

    Decomposition and gradient are those of `svd`. The rank is not Algorithm 1's: without an
    eigenvalue ≤ ε only the leading pair is kept (`eigbench.truncation.released`).
    """

    name: ClassVar[str] = "svd-released"
    summary: ClassVar[str] = "svd, truncated in a whitening layer as the authors' program does"
    source: ClassVar[str] = "github.com/cvlab-epfl/Power-Iteration-SVD, ZCANorm.py, ZCANormOrg"
    truncation: ClassVar[str] = "released"
