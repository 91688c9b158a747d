"""ZCA whitening of groups of channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eigbench.errors import InputError
from eigbench.layers.base import SpectralLayer, configured_for_layer, require_applicable
from eigbench.layers.composable import Mapped
from eigbench.methods.base import Eigenpairs, Method, reconstruct
from eigbench.methods.functions import InverseSquareRoot, Truncated
from eigbench.phases import phase
from eigbench.truncation import RULES, kept_mask, truncate


class ZCAWhitening2d(SpectralLayer):
    """Whitens each group of `group_size` channels: `y = γ·M^(−1/2)(x − μ) + β`.

    Algorithm 1 of Wang et al. (NeurIPS 2019): `M = Σ + εI` is the covariance of the group over
    the batch and all positions, divided by N·H·W. `S = Ṽ Λ̃^(−1/2) Ṽᵀ` is made of the eigenpairs
    that `truncation` keeps, a name in `eigbench.truncation.RULES`, by default the method's own
    rule. The running subspace is the running mean of S.

    `group_size` must divide `channels` and is by default all of them. `method` is the name of any
    method of eigendecomposition and `parameters` are its own; `pi` starts at random in each call
    unless given a `seed`, and `cholesky` whitens by another matrix than `M^(−1/2)`. With
    `precision="float64"` S is computed in float64 of a float32 covariance, too. Raises
    `InputError`, which is a `ValueError`, where one does not fit.
    """

    def __init__(  # noqa: PLR0913 - the settings of a layer, all but one with a default
        self,
        channels: int,
        group_size: int | None = None,
        method: str = "hybrid",
        *,
        eps: float = 1e-4,
        momentum: float = 0.1,
        affine: bool = True,
        truncation: str | None = None,
        sync: bool = False,
        precision: str = "input",
        **parameters: Any,
    ) -> None:
        if group_size is None:
            group_size = channels
        super().__init__(
            channels,
            group_size,
            eps=eps,
            momentum=momentum,
            affine=affine,
            sync=sync,
            precision=precision,
        )
        self.method: Method = configured_for_layer(method, parameters, sync=sync)
        self.truncation = self.method.truncation if truncation is None else truncation
        if self.truncation not in RULES:
            names = ", ".join(RULES)
            raise InputError(f"unknown truncation {truncation!r}; available are {names}")
        kept = Truncated(InverseSquareRoot(), torch.ones(group_size))
        reason = None if self.truncation == "none" else self.method.function_refusal(kept)
        if reason is not None:
            raise InputError(f"truncation {self.truncation!r}: {reason}; 'none' is right")

    def map_of(self, covariance: Tensor) -> Mapped:
        """`S` of covariances `(G, d, d)`."""
        with phase("covariance"):
            M = torch.add(covariance, self.identity, alpha=self.eps)
        require_applicable(self.method, M)
        if self.method.differentiates == "eigenpairs":
            pairs = self.method.eigh(M)
            function, rank = self._truncated(M, pairs)
            return Mapped(reconstruct(pairs, function), M, rank)
        if self.truncation == "none":
            rank = torch.full(M.shape[:1], self.group_size, device=M.device)
            return Mapped(self.method.whitening(M), M, rank)
        function, rank = self._truncated(M, self.method.eigh(M.detach()))
        return Mapped(self.method.matrix_function(M, function), M, rank)

    def _truncated(self, M: Tensor, pairs: Eigenpairs) -> tuple[Truncated, Tensor]:
        """The inverse root on the kept pairs, and their number; the cut has no gradient."""
        with phase("decomposition"):
            detached = Eigenpairs(*(part.detach() for part in pairs))
            rank = truncate(self.truncation, M.detach(), detached, self.eps).rank
            return Truncated(InverseSquareRoot(), kept_mask(rank, detached.eigenvalues)), rank

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{super().extra_repr()}, method={self.method}, truncation={self.truncation!r}"


class ZCAWhitening1d(ZCAWhitening2d):
    """The same for features `(N, C)` and sequences `(N, C, L)`.

    M is the covariance over the batch, and over the positions of a sequence. It folds into a
    `torch.nn.Linear` or a `torch.nn.Conv1d` before it.
    """

    shapes = ("N, C", "N, C, L")
    folds_into = (nn.Linear, nn.Conv1d)
