"""What the paper prints, unaltered (Wang et al., NeurIPS 2019)."""

from __future__ import annotations

TABLE_1 = {
    0.1: 2, 0.2: 2, 0.3: 3, 0.4: 4, 0.5: 5, 0.6: 6, 0.7: 9, 0.8: 14, 0.85: 19, 0.9: 29,
    0.95: 59, 0.99: 299, 0.995: 598, 0.999: 2995,
}  # fmt: skip
"""Ratio of eigenvalues: the least number of iterations."""

TABLE_2_DIMENSIONS = (4, 8, 16, 32, 64)
TABLE_2_SUCCESS_PERCENT = {
    "svd": (46.7, 0, 0, 0, 0),
    "pi": (100, 6.7, 0, 0, 0),
    "hybrid": (100, 100, 100, 100, 100),
}
"""Share of 15 trainings of ResNet18 with ZCA on CIFAR-10 that did not fail, by method and d."""

NEIGHBOUR_RATIO = (0.84, 0.86)
"""§2.4: the interval of the average λi/λi−1 in ResNet18 on CIFAR-10."""
