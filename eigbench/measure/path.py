"""The gradient along a path of matrices on which two eigenvalues meet and cross."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from eigbench.errors import NotApplicable
from eigbench.kinds.path import PathCase
from eigbench.losses import LOSSES, weights
from eigbench.measure.arrays import are_finite, float64, norms
from eigbench.measure.differentiate import differentiate
from eigbench.measure.measurement import Measurement, as_list
from eigbench.measure.problem import posed
from eigbench.methods.registry import configured
from eigbench.spectra import TYPICAL_RATIO, Floats, ascending, random_orthogonal

DECADES = np.logspace(-1, -10, 19)
POSITIONS: Floats = np.concatenate([-DECADES, [0.0], DECADES[::-1]])
"""Half the relative distance of the two, from far on one side to far on the other."""


def measure_path(case: PathCase) -> Measurement:
    """Differentiate at every position of the path, with one basis and one loss throughout.

    One value a position: where it is; the gradient's error; its component on the crossing pair as
    a multiple of the exact one; and how far it moved from the position before, beside how far
    the exact one did, both relative to the exact norm. The record also remembers what the method
    promises. Raises `NotApplicable` for a loss that has no gradient at the crossing, and whatever
    the method raises.
    """
    V = random_orthogonal(case.d, case.seed)
    eigenvalues, pair = _eigenvalues(case.d)
    truth = ascending(eigenvalues + case.epsilon, np.broadcast_to(V, (len(POSITIONS), *V.shape)))
    function = LOSSES[case.loss].function(truth.eigenvalues)
    W = weights(case.d, range(case.seed, case.seed + 1))
    method = configured(case.method, **case.parameters)
    exact = posed(truth, function, W, method).gradient
    dtype = getattr(torch, case.dtype)
    M, given = (torch.tensor(x, dtype=dtype, device=case.device) for x in (truth.matrices(), W))
    G = float64(differentiate(method, M, function, given).gradient)
    lower, upper = V[:, pair], V[:, pair + 1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        samples = {
            "position": POSITIONS,
            "gradient_finite": are_finite(G),
            "gradient_error": norms(G - exact) / norms(exact),
            "crossing_ratio": (lower @ G @ upper) / (lower @ exact @ upper),
            "moved": norms(np.diff(G, axis=0)) / norms(exact[1:]),
            "exact_moved": norms(np.diff(exact, axis=0)) / norms(exact[1:]),
        }
    labels: dict[str, list[str]] = {"promises": sorted(method.promises)}
    return Measurement({name: as_list(values) for name, values in samples.items()}, labels)


def _eigenvalues(d: int) -> tuple[Floats, int]:
    """`(positions, d)` in the order of the basis, and the place of the first of the two.

    A geometric decay, in which one eigenvalue is replaced by two that cross at its place.
    """
    if d < 2:
        raise NotApplicable("two eigenvalues that cross: d must be 2 or more")
    pair = (d - 2) // 2
    base = np.repeat(
        TYPICAL_RATIO ** np.arange(d - 1), [2 if i == pair else 1 for i in range(d - 1)]
    )
    moving: Any = np.zeros(d)
    moving[pair], moving[pair + 1] = 1, -1
    values: Floats = base * (1 + POSITIONS[:, None] * moving)
    return values, pair
