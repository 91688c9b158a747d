"""What a step of training did to the layer: the gradient that leaves it, and its spectrum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Probe:
    """Watches the slot of a network: the gradient at its input, and the layer's latest spectrum."""

    def __init__(self, network: nn.Module) -> None:
        self._layer: Any = network.layer
        self._gradient_norm: Tensor | None = None
        stem = network.stem
        assert isinstance(stem, nn.Module)  # noqa: S101  # what `networks.build` gives
        stem.register_forward_hook(self._watch)

    def _watch(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(self._keep)  # type: ignore[no-untyped-call]

    def _keep(self, gradient: Tensor) -> None:
        self._gradient_norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)

    def gradient_norm(self) -> float:
        """Norm of the gradient that the last backward pass sent out of the layer."""
        return float("nan") if self._gradient_norm is None else self._gradient_norm.item()

    def spectrum(self) -> dict[str, float]:
        """Rank kept, ratio of neighbours and smallest gap at the last step; empty without any.

        The ratio λ(i+1)/λ(i), descending, is the mean over groups and neighbours; the gap is the
        smallest of any group. Of the covariance with ε added, as the method saw it.
        """
        latest = getattr(self._layer, "latest", None)
        if latest is None:
            return {}
        nothing = float("nan")
        # Of a map that is not finite no rank can be told.
        rank = latest.rank.double().mean().item() if latest.map.isfinite().all() else nothing
        covariance = latest.covariance.double()
        if not torch.isfinite(covariance).all():
            return _spectrum(rank, nothing, nothing)
        values = torch.linalg.eigvalsh(covariance)
        ratios = values[:, :-1] / values[:, 1:]
        return _spectrum(rank, ratios.mean().item(), (1 - ratios).min().item())


def _spectrum(rank: float, ratio: float, gap: float) -> dict[str, float]:
    return {"rank_kept": rank, "mean_neighbour_ratio": ratio, "smallest_relative_gap": gap}
