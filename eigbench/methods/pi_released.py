"""The paper's power-iteration baseline as its authors' program runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from eigbench.methods.base import Eigenpairs
from eigbench.methods.pi import PowerIteration


@dataclass(frozen=True)
class PowerIterationReleased(PowerIteration):
    """`pi`, whose whitening layer truncates as the released program does.

    Iteration, deflation and gradient are those of `pi`. The layer stops only where an eigenvalue
    is larger than the one found before it or is below ε (`eigbench.truncation.pi_released`):
    neither Algorithm 1's test of the Rayleigh quotient nor its energy protects it. That rule reads
    the order in which the pairs were found, so `eigh` keeps this order, the first found last:
    ascending where the iteration has converged, and not sorted where it has not.
    """

    name: ClassVar[str] = "pi-released"
    summary: ClassVar[str] = "pi, truncated in a whitening layer as the authors' program does"
    source: ClassVar[str] = (
        "github.com/cvlab-epfl/Power-Iteration-SVD, ZCANorm.py, ZCANormPIunstable"
    )
    truncation: ClassVar[str] = "pi-released"

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Approximate eigenpairs of symmetric `M` `(..., n, n)`, the first found last."""
        values, vectors = self.found(M)
        return Eigenpairs(values.flip(-1), vectors.flip(-1))
