"""What a step of training did to the layer: the gradient that leaves it, and its spectrum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NOTHING = float("nan")

WELL_ABOVE = 10.0
"""Times ε from which an eigenvalue is one of the data, not of the ε that was added."""


class Probe:
    """Watches the slot of a network: the gradient at its input, and the layer's latest spectrum."""

    def __init__(self, network: nn.Module, epsilon: float | None) -> None:
        self._layer: Any = network.layer
        self._epsilon = epsilon
        self._gradient: Tensor | None = None
        stem = network.stem
        assert isinstance(stem, nn.Module)  # noqa: S101  # what `networks.build` gives
        stem.register_forward_hook(self._watch)

    def _watch(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(self._keep)  # type: ignore[no-untyped-call]

    def _keep(self, gradient: Tensor) -> None:
        self._gradient = gradient  # its norm is not the step's to compute

    def gradient_norm(self) -> float:
        """Norm of the gradient that the last backward pass sent out of the layer."""
        gradient, self._gradient = self._gradient, None
        return NOTHING if gradient is None else norm_of([gradient])

    def spectrum(self) -> dict[str, float]:
        """Rank kept, and ratios of neighbouring eigenvalues, at the last step; empty without any.

        The ratio λ(i+1)/λ(i), descending, is the mean over groups and neighbours, of all and of
        those of which the smaller is well above ε; the gap is the smallest of any group. Of the
        covariance with ε added, as the method saw it.
        """
        latest = getattr(self._layer, "latest", None)
        if latest is None:
            return {}
        # Of a map that is not finite no rank can be told.
        rank = latest.rank.double().mean().item() if latest.map.isfinite().all() else NOTHING
        covariance = latest.covariance.double()
        if not covariance.isfinite().all():
            return _series(rank, torch.empty(0), torch.empty(0))
        # Rounding makes zeros negative, which as ratios would mean nothing.
        values = torch.linalg.eigvalsh(covariance).clamp(min=0)
        smaller, larger = values[:, :-1], values[:, 1:]
        ratios = smaller / larger
        above = smaller >= WELL_ABOVE * (self._epsilon or 0.0)
        return _series(rank, ratios[larger > 0], ratios[above & (larger > 0)])


def norm_of(tensors: Iterable[Tensor]) -> float:
    """The norm of all values together, in float64, so that no square overflows."""
    norms = [torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(norms)).item() if norms else 0.0


def _series(rank: float, ratios: Tensor, above_epsilon: Tensor) -> dict[str, float]:
    return {
        "rank_kept": rank,
        "mean_neighbour_ratio": ratios.mean().item() if len(ratios) else NOTHING,
        "neighbour_ratio_above_epsilon": (
            above_epsilon.mean().item() if len(above_epsilon) else NOTHING
        ),
        "smallest_relative_gap": (1 - ratios).min().item() if len(ratios) else NOTHING,
    }
