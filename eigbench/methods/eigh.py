"""The symmetric eigensolver with its analytic gradient, as torch gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.analytic import analytic_eigh
from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise


@dataclass(frozen=True)
class Eigh(Method):
    """`torch.linalg.eigh`, its gradient made symmetric: 1/(λi − λj), unbounded at a closing gap."""

    name: ClassVar[str] = "eigh"
    summary: ClassVar[str] = "torch.linalg.eigh with its analytic gradient"
    source: ClassVar[str] = "torch; Ionescu et al., ICCV 2015 (Eq. 1 and 23 of the paper)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "scale"})

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        return analytic_eigh(self.name, M)
