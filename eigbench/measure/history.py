"""What a training did, step by step, in a form that a checkpoint can hold."""

from __future__ import annotations

import torch
from torch import Tensor

from eigbench.kinds.base import DIGITS

BY_STEP = (
    "loss",
    "gradient_norm",
    "layer_gradient_norm",
    "step_seconds",
    "rank_kept",
    "mean_neighbour_ratio",
    "neighbour_ratio_above_epsilon",
    "smallest_relative_gap",
)
BY_EPOCH = ("validation_error", "validation_loss", "epoch_steps")


class History:
    """Series of numbers by name, in the order in which they were noted."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {name: [] for name in (*BY_STEP, *BY_EPOCH)}

    def note(self, **values: float) -> None:
        """Append one value to each series that is named."""
        for name, value in values.items():
            self.series[name].append(float(f"{value:.{DIGITS}g}"))

    def state(self) -> dict[str, Tensor]:
        """The series as tensors."""
        return {
            name: torch.tensor(values, dtype=torch.float64) for name, values in self.series.items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.series = {name: values.tolist() for name, values in state.items()}
