"""What every measurement returns: raw values by metric, without a summary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Measurement(NamedTuple):
    """Raw numbers and raw words by metric, one a seed."""

    samples: dict[str, list[float]]
    labels: dict[str, list[str]]


def as_list(values: Any) -> list[float]:
    """A one-dimensional array, tensor or list as plain floats."""
    plain: list[float] = np.asarray(values, dtype=np.float64).reshape(-1).tolist()
    return plain
