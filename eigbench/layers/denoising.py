"""PCA denoising of all channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eigbench.errors import InputError
from eigbench.layers.base import (
    SpectralLayer,
    configured_for_layer,
    require_applicable,
    require_number,
    require_whole,
)
from eigbench.layers.composable import Mapped
from eigbench.methods.base import Method
from eigbench.methods.functions import Projector, SpectralFunction
from eigbench.phases import phase
from eigbench.truncation import kept_mask


class PCADenoising2d(SpectralLayer):
    """Projects the standardised channels on leading eigenvectors: `y = γ·P(x − μ)/σ + β`.

    Section 3.2 of Wang et al. (NeurIPS 2019): each channel is standardised, with `σ² = var + ε`;
    the eigenvectors are those of the correlation matrix, plus εI, over the batch and all
    positions; `P = ṼṼᵀ` is made of the leading e. Either e is fixed, `components`, or it is for
    each batch the least whose eigenvalues hold the share `energy` of the trace; give exactly one.
    The running map is the running mean of `P diag(1/σ)`.

    `method` is the name of any method of eigendecomposition and `parameters` are its own; `pi`
    starts at random in each call unless given a `seed`. With `precision="float64"` the map is
    computed in float64 of a float32 covariance, too. Raises `InputError`, which is a `ValueError`,
    where one does not fit.
    """

    def __init__(  # noqa: PLR0913 - the settings of a layer, all but one with a default
        self,
        channels: int,
        components: int | None = None,
        energy: float | None = None,
        method: str = "hybrid",
        *,
        eps: float = 1e-4,
        momentum: float = 0.1,
        affine: bool = True,
        sync: bool = False,
        precision: str = "input",
        **parameters: Any,
    ) -> None:
        super().__init__(
            channels,
            channels,
            eps=eps,
            momentum=momentum,
            affine=affine,
            sync=sync,
            precision=precision,
        )
        self.components, self.energy = components, energy
        self.leading = _leading(channels, components, energy)
        self.method: Method = configured_for_layer(method, parameters, sync=sync)
        reason = self.method.function_refusal(self.leading)
        if reason is not None:
            raise InputError(reason)

    def map_of(self, covariance: Tensor) -> Mapped:
        """`P diag(1/σ)` of one covariance `(1, C, C)`."""
        with phase("covariance"):
            inverse = (covariance.diagonal(dim1=-2, dim2=-1) + self.eps).rsqrt()
            correlation = covariance * inverse[:, :, None] * inverse[:, None, :]
            M = torch.add(correlation, self.identity, alpha=self.eps)
        require_applicable(self.method, M)
        P = self.method.matrix_function(M, self.leading)
        # The trace of a projector is its rank, however it was made.
        with phase("products"):
            rank = P.detach().diagonal(dim1=-2, dim2=-1).sum(-1).round().long()
            return Mapped(P * inverse[:, None, :], M, rank)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"{super().extra_repr()}, components={self.components}, energy={self.energy}, "
            f"method={self.method}"
        )


@dataclass(frozen=True)
class LeadingNumber(SpectralFunction):
    """The projector on a number of leading eigenvectors."""

    components: int

    def rank(self, eigenvalues: Tensor) -> Tensor:
        """How many of the ascending eigenvalues `(..., n)` are chosen: `(...,)`."""
        return torch.full_like(eigenvalues[..., 0], self.components, dtype=torch.int64)

    def values(self, eigenvalues: Tensor) -> Tensor:
        """1 for the chosen, 0 for the others, without a gradient."""
        return self._projector(eigenvalues).values(eigenvalues)  # type: ignore[no-any-return]

    def divided_differences(self, eigenvalues: Tensor) -> Tensor:
        """`±1/(λi − λj)` across the cut, else 0."""
        projector = self._projector(eigenvalues)
        return projector.divided_differences(eigenvalues)  # type: ignore[no-any-return]

    def _projector(self, eigenvalues: Tensor) -> Projector:
        fixed = eigenvalues.detach()
        return Projector(kept_mask(self.rank(fixed), fixed))


@dataclass(frozen=True)
class LeadingEnergy(LeadingNumber):
    """The projector on the least number of leading eigenvectors that hold a share of the trace."""

    energy: float

    def rank(self, eigenvalues: Tensor) -> Tensor:
        """The least e with `γ_e ≥ energy`; never more than `components`."""
        # In float64: among small eigenvalues the sum of n float32 roundings would decide.
        descending = eigenvalues.double().flip(-1)
        share = descending.cumsum(-1) / descending.sum(-1, keepdim=True)
        missing: Tensor = (share < self.energy).sum(-1)
        return (missing + 1).clamp(max=self.components)


def _leading(channels: int, components: int | None, energy: float | None) -> LeadingNumber:
    if (components is None) == (energy is None):
        raise InputError("give exactly one of components and energy")
    if components is not None:
        require_whole("components", components)
        if components > channels:
            raise InputError(f"components must be at most {channels} channels, not {components}")
        return LeadingNumber(components)
    assert energy is not None  # noqa: S101 - for the type checker: one of the two was given
    require_number("energy", energy, "above 0, up to 1", lambda value: 0 < value <= 1)
    # All of it is all of them: a sum's rounding must not drop the last.
    return LeadingNumber(channels) if energy == 1 else LeadingEnergy(channels, energy)
