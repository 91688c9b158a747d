"""Power iteration with deflation from random starts: the rival that the paper finds unstable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eigbench.algorithm_1 import ITERATIONS
from eigbench.methods.base import (
    Eigenpairs,
    Method,
    Parameter,
    Promise,
    require_count,
)
from eigbench.methods.calling import composing
from eigbench.methods.hybrid import Hybrid
from eigbench.methods.no_gradient import watched
from eigbench.phases import phase


@dataclass(frozen=True)
class PowerIteration(Method):
    """Eq. 2 forward, K times from a random start for each deflated matrix; Eq. 3 backward.

    Autograd follows the K iterations, which is Eq. 3. Neither eigenvalues nor eigenvectors are
    exact, and the deflated remainder of a rank-deficient matrix is rounding noise or zero: then
    the result is not finite. Starts come from `seed`, the same for every matrix of a batch. With
    `seed=None` each call draws fresh ones, for each matrix its own, from torch's generator, as
    the paper does: `torch.manual_seed` or a restored generator state gives them again.
    """

    name: ClassVar[str] = "pi"
    summary: ClassVar[str] = "power iteration with deflation, forward and backward"
    source: ClassVar[str] = "Wang et al., NeurIPS 2019, Eq. 2 and 3"
    promises: ClassVar[frozenset[Promise]] = frozenset({"scale"})
    converged: ClassVar[Mapping[str, Parameter]] = {"iterations": 120}

    iterations: int = ITERATIONS
    seed: int | None = 0

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Approximate eigenpairs of symmetric `M` `(..., n, n)`."""
        values, vectors = self.found(M)
        with phase("decomposition"):
            eigenvalues, order = torch.sort(values, dim=-1, stable=True)
            eigenvectors = torch.take_along_dim(vectors, order[..., None, :], dim=-1)
            return Eigenpairs(eigenvalues, eigenvectors)

    def found(self, M: Tensor) -> Eigenpairs:
        """The same in the order in which they are found: descending, if each has converged."""
        with phase("decomposition"):
            # What has not converged has the second derivative of something else.
            S = watched(self.name, M, Hybrid(self.iterations).differs)
            return _iterate(S, _starts(M, self.seed), self.iterations)


def _iterate(deflated: Tensor, starts: list[Tensor], iterations: int) -> Eigenpairs:
    """The pairs that power iteration finds from the `starts`, one deflation after the other."""
    values, vectors = [], []
    for start in starts:
        v = start
        for _ in range(iterations):
            image = deflated @ v
            v = image / torch.linalg.vector_norm(image, dim=-2, keepdim=True)
        image = deflated @ v
        values.append((v.mT @ image)[..., 0, 0])
        vectors.append(v[..., 0])
        deflated = deflated - image @ v.mT
    return Eigenpairs(torch.stack(values, -1), torch.stack(vectors, -1))


def _starts(M: Tensor, seed: int | None) -> list[Tensor]:
    """One random unit vector `(..., n, 1)` for each deflation step."""
    if seed is None:
        starts = torch.nn.functional.normalize(torch.randn_like(M), dim=-2)
    else:
        columns = _unit_vectors(M.shape[-1], seed)
        starts = _sent(torch.tensor(columns, dtype=M.dtype, device="cpu"), M.device)
    return list(torch.split(starts, 1, dim=-1))


def _sent(X: Tensor, device: torch.device) -> Tensor:
    """`X`, which is the host's, on a device, without waiting until that has nothing else to do."""
    # Only from pinned memory does a copy not wait. Compilers know no such memory.
    if device.type == "cuda" and not composing():
        X = X.pin_memory()
    return X.to(device, non_blocking=True)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _unit_vectors(n: int, seed: int) -> list[list[float]]:
    """`(n, n)`, in columns; drawn outside torch, so that every device, vmap and compile agree."""
    starts = np.random.default_rng(seed).standard_normal((n, n))
    columns: list[list[float]] = (starts / np.linalg.norm(starts, axis=0)).tolist()
    return columns


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
