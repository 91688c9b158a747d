"""Algorithm 1 taken literally: slow, and the independent reference for `hybrid`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eigbench.algorithm_1 import ITERATIONS
from eigbench.methods.base import (
    HERMITIAN,
    Eigenpairs,
    Method,
    Parameter,
    Promise,
    real_part,
    require_count,
)
from eigbench.methods.calling import call, conventions
from eigbench.methods.decomposition import decompose
from eigbench.methods.hybrid import Hybrid
from eigbench.methods.no_gradient import phases_watched, watched
from eigbench.phases import phase


class _PowerIteration(torch.autograd.Function):
    """`v = PowerIteration(M̃, v)` of Algorithm 1: nothing forward, Eq. 4 backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, v: Tensor, iterations: int) -> Tensor:
        return v.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        M, _, ctx.iterations = inputs
        # The output, not the start: a second derivative must see that v depends on M.
        ctx.save_for_backward(M, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        M, v = ctx.saved_tensors
        with phase("coefficients"):
            bracket = _bracket(M, v, ctx.iterations)
        with phase("products"):
            return bracket @ gradients[0] @ v.mH, None, None


_POWER_ITERATION = conventions(_PowerIteration)


def _bracket(M: Tensor, v: Tensor, iterations: int) -> Tensor:
    """The bracket of Eq. 4 as it is printed, a matrix: `Σ_k M^k (I − vvᴴ)/‖Mv‖^(k+1)`."""
    length = torch.linalg.vector_norm(M @ v, dim=-2, keepdim=True)
    identity = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    term = (identity - v @ v.mH) / length
    bracket: Tensor = term
    for _ in range(iterations - 1):
        term = (M @ term) / length
        bracket = bracket + term
    return bracket


@dataclass(frozen=True)
class HybridLoop(Method):
    """Deflates eigenpair by eigenpair and lets autograd follow the deflation.

    What `hybrid` has in closed form this computes step by step: Eq. 4 on each deflated matrix, the
    Rayleigh quotient as eigenvalue, and the gradient that both pass on to the earlier pairs. It is
    kept to check `hybrid` by, not to be used: n·K products of matrices backward, and terms that
    grow without bound as an eigenvalue tends to zero, though their sum does not. M must
    be positive definite, as the paper's M + εI is.

    Unlike `hybrid` it is not always finite. Eq. 4 divides by `‖M̃v‖`, and the deflated remainder
    M̃ can vanish: exactly, where eigenvalues are zero or rounding takes the last of them away, as
    at λ = ε far below the largest; then the gradient is NaN.
    """

    name: ClassVar[str] = "hybrid-loop"
    summary: ClassVar[str] = "Algorithm 1 step by step, the reference for hybrid"
    source: ClassVar[str] = "Wang et al., NeurIPS 2019, Algorithm 1 and Eq. 4"
    dtypes: ClassVar[frozenset[torch.dtype]] = HERMITIAN
    promises: ClassVar[frozenset[Promise]] = frozenset({"scale"})
    cancellation: ClassVar[float] = 5.0  # measured: 2, where f is steep near 0
    converged: ClassVar[Mapping[str, Parameter]] = {"iterations": 120}

    iterations: int = ITERATIONS

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations)

    def eigh(self, M: Tensor) -> Eigenpairs:
        """Decompose symmetric `M` `(..., n, n)`."""
        if M.shape[-1] == 0:
            return Eigenpairs(*torch.linalg.eigh(M))
        with phase("decomposition"):
            _, eigenvectors = decompose(M.detach())
            deflated = watched(self.name, M, Hybrid(self.iterations).differs)
            values, vectors = [], []
            # Deflation removes the largest eigenvalue first.
            for start in reversed(torch.split(eigenvectors, 1, dim=-1)):
                v = call(_POWER_ITERATION, deflated, start, self.iterations)
                image = deflated @ v
                values.append(real_part((v.mH @ image) / (v.mH @ v))[..., 0, 0])
                vectors.append(v[..., 0])
                deflated = deflated - image @ v.mH
            V = phases_watched(torch.stack(vectors[::-1], -1))
            return Eigenpairs(torch.stack(values[::-1], -1), V)
