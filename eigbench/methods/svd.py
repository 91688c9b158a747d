"""The singular value decomposition with its analytic gradient: the paper's failing baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eigbench.methods.base import HERMITIAN, Eigenpairs, Method, Promise, real_part
from eigbench.methods.no_gradient import phases_watched, unresolved, watched
from eigbench.phases import phase


@dataclass(frozen=True)
class Svd(Method):
    """`torch.linalg.svd` of a symmetric matrix, read as its eigendecomposition.

    The left singular vectors are the eigenvectors and the singular values the magnitudes of the
    eigenvalues; the sign of each comes from the right singular vector. torch divides by
    σi² − σj², so a closing gap costs more digits than in `eigh`.
    """

    name: ClassVar[str] = "svd"
    summary: ClassVar[str] = "torch.linalg.svd with its analytic gradient"
    source: ClassVar[str] = "torch; Ionescu et al., ICCV 2015 (Eq. 1 and 23 of the paper)"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"exact", "scale"})

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        with phase("decomposition"):
            return _decompose(watched(self.name, M, _tied))


def _tied(eigenvalues: Tensor) -> Tensor:
    """`(...)`: whether singular values are a tie, as those of −2 and 2."""
    return unresolved(eigenvalues.abs().sort(-1).values)


def _decompose(M: Tensor) -> Eigenpairs:
    left, magnitudes, right = torch.linalg.svd(M)
    signs = torch.sign(real_part((left.conj() * right.mH).sum(dim=-2))).detach()
    # A zero singular value has no sign of its own; +1 keeps it zero.
    eigenvalues = magnitudes * (signs + (signs == 0))
    eigenvalues, order = torch.sort(eigenvalues, dim=-1, stable=True)
    V = left.gather(-1, order[..., None, :].expand_as(left))  # of any number of matrices
    return Eigenpairs(eigenvalues, phases_watched(V))


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
