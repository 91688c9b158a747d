"""What the gate guards: methods, layers and a training step, each beside its reference.

On one thread, by CPU time; see docs/regression-gate.md. `nox -s bench` runs this.
"""

from __future__ import annotations

import pytest
from torch import nn

import eigbench
from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from tests.benchmarks.gate import METHODS, Gate
from tests.benchmarks.problems import (
    CHANNELS,
    covariances,
    forward_and_backward,
    images,
    layer_forward_and_backward,
    method_call,
    torch_eigh,
    torch_svd,
    training_step,
)

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("one_thread")]

SIZES = {
    "pi": [(16, 4), (1, 8)],
    "hybrid-loop": [(16, 8), (1, 16)],
    "hybrid": [(64, 16), (1, 64), (64, 64), (1, 256)],
}
"""The slow ones at sizes at which they still get a hundred rounds."""


@pytest.mark.parametrize(
    ("method", "count", "n"),
    [
        pytest.param(method, count, n, id=f"{method}-{count}x{n}x{n}")
        for method in METHODS
        for count, n in SIZES.get(method, [(64, 16), (1, 64)])
    ],
)
def test_method_beside_torch_eigh(gate: Gate, method: str, count: int, n: int) -> None:
    M = covariances(count, n)
    seconds = 4 if method in ("pi", "hybrid-loop") else 2
    gate(method_call(method, M), forward_and_backward(torch_eigh, M), seconds=seconds)


@pytest.mark.parametrize(
    ("count", "n"), [(1, 64), (64, 64), (1, 128), (1, 256), (64, 16), (64, 32)]
)
def test_hybrid_beside_torch_svd(gate: Gate, count: int, n: int) -> None:
    M = covariances(count, n)
    first, second = (forward_and_backward(f, M) for f in (eigbench.eigh, torch_svd))
    gate(first, second)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(ZCAWhitening2d(CHANNELS, 4), id="zca-4"),
        pytest.param(ZCAWhitening2d(CHANNELS, 16), id="zca-16"),
        pytest.param(ZCAWhitening2d(CHANNELS, 64), id="zca-64"),
        pytest.param(PCADenoising2d(CHANNELS, 16), id="pca-16"),
    ],
)
def test_layer_beside_batch_normalisation(gate: Gate, layer: nn.Module) -> None:
    # Of more images nearly all the time is that of memory, for both.
    X = images(batch=4)
    gate(
        layer_forward_and_backward(layer, X),
        layer_forward_and_backward(nn.BatchNorm2d(CHANNELS), X),
        seconds=3,
    )


def test_training_step_beside_one_with_batch_normalisation(gate: Gate) -> None:
    # A narrow network: at full width a step takes so long that a few pairs are all one gets.
    first, second = (
        training_step(layer, batch=4, width=8)
        for layer in (ZCAWhitening2d(CHANNELS, 16), nn.BatchNorm2d(CHANNELS))
    )
    gate(first, second, seconds=5)
