"""How fast the layers are beside batch normalisation: ratios, never seconds.

Forward and backward of 128×64×32×32 in float32 on two threads, as between the first convolution
and the first block of ResNet18 on CIFAR. `nox -s bench` runs this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from tests.benchmarks.paired import record_ratio

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("two_threads")]

CHANNELS = 64
PAIRS = 101
"""For at most 20 s a test; odd, so that the median is a ratio that was measured."""


def images(mean: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(128, CHANNELS, 32, 32, generator=generator) + mean


def forward_and_backward(layer: nn.Module, X: Tensor) -> Callable[[], Any]:
    """One pass each way with a fixed random cotangent, so that no loss is timed along."""
    leaf = X.clone().requires_grad_()
    W = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    inputs = [leaf, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(leaf), inputs, W)


def measured_ratio(benchmark: BenchmarkFixture, layer: nn.Module, X: Tensor) -> float:
    """layer/batch normalisation."""
    first = forward_and_backward(layer, X)
    second = forward_and_backward(nn.BatchNorm2d(CHANNELS), X)
    return record_ratio(benchmark, first, second, pairs=PAIRS)


@pytest.mark.parametrize(("d", "limit"), [(4, 1.3), (8, 1.3), (16, 1.3), (32, 1.6), (64, 2.1)])
def test_whitening_costs_little_more_than_batch_normalisation(
    benchmark: BenchmarkFixture, d: int, limit: float
) -> None:
    assert measured_ratio(benchmark, ZCAWhitening2d(CHANNELS, d), images()) <= limit


def test_denoising_costs_no_more_than_whitening_of_all_channels(
    benchmark: BenchmarkFixture,
) -> None:
    assert measured_ratio(benchmark, PCADenoising2d(CHANNELS, 16), images()) <= 2.1


def test_a_large_mean_costs_two_more_looks_at_each_chunk(benchmark: BenchmarkFixture) -> None:
    # Copies of centring, and a first attempt at the statistics that is thrown away.
    assert measured_ratio(benchmark, ZCAWhitening2d(CHANNELS, 16), images(mean=10.0)) <= 1.7
