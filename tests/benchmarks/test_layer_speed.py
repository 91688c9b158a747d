"""How fast the layers are beside batch normalisation: ratios, never seconds.

Forward and backward of 128×64×32×32 in float32 on two threads, as between the first convolution
and the first block of ResNet18 on CIFAR. `nox -s bench` runs this.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from tests.benchmarks.gating import record_ratio
from tests.benchmarks.problems import CHANNELS, images, layer_forward_and_backward

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("two_threads")]

SECONDS = 4.0


def measured_ratio(
    benchmark: BenchmarkFixture, layer: nn.Module, X: Tensor, *, limit: float
) -> float:
    """layer/batch normalisation."""
    first = layer_forward_and_backward(layer, X)
    second = layer_forward_and_backward(nn.BatchNorm2d(CHANNELS), X)
    return record_ratio(benchmark, first, second, limit=limit, seconds=SECONDS)


@pytest.mark.parametrize(("d", "limit"), [(4, 1.3), (8, 1.3), (16, 1.3), (32, 1.6), (64, 2.1)])
def test_whitening_costs_little_more_than_batch_normalisation(
    benchmark: BenchmarkFixture, d: int, limit: float
) -> None:
    layer = ZCAWhitening2d(CHANNELS, d)
    assert measured_ratio(benchmark, layer, images(), limit=limit) <= limit


def test_denoising_costs_no_more_than_whitening_of_all_channels(
    benchmark: BenchmarkFixture,
) -> None:
    layer = PCADenoising2d(CHANNELS, 16)
    assert measured_ratio(benchmark, layer, images(), limit=2.1) <= 2.1


def test_a_large_mean_costs_two_more_looks_at_each_chunk(benchmark: BenchmarkFixture) -> None:
    # Copies of centring, and a first attempt at the statistics that is thrown away.
    layer = ZCAWhitening2d(CHANNELS, 16)
    assert measured_ratio(benchmark, layer, images(mean=10.0), limit=1.7) <= 1.7
