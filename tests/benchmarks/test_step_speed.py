"""How much of a whole training step the layers cost: ratios to batch normalisation, never seconds.

ResNet18 as the paper has it for CIFAR, at its full width; forward and backward of 16 images in
float32 on two threads. The paper prints 1.27 for PCA denoising with K = 2 (104.8 ms beside 82.7 ms,
section 3.2). `nox -s bench` runs this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.networks import build
from tests.benchmarks.paired import record_ratio

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("two_threads")]

PAIRS = 21
BATCH = 16


def step(layer: nn.Module) -> Callable[[], Any]:
    """Forward and backward of one batch of noise; without the update, which is the same for all."""
    torch.manual_seed(0)
    network = build("resnet18", 10, layer)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    parameters = list(network.parameters())

    def call() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(nn.functional.cross_entropy(network(images), labels), parameters)

    return call


@pytest.mark.parametrize(
    "layer",
    [
        ZCAWhitening2d(64, 4),
        ZCAWhitening2d(64, 16),
        ZCAWhitening2d(64, 64),
        PCADenoising2d(64, energy=0.99, iterations=2),
    ],
    ids=["zca-4", "zca-16", "zca-64", "pca"],
)
def test_a_step_costs_hardly_more_than_one_with_batch_normalisation(
    benchmark: BenchmarkFixture, layer: nn.Module
) -> None:
    first, second = step(layer), step(nn.BatchNorm2d(64))
    assert record_ratio(benchmark, first, second, pairs=PAIRS) <= 1.05
