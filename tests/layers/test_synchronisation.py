"""On a GPU a layer makes the host wait for nothing but what its decomposition itself asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.layers.base import SpectralLayer
from eigbench.truncation import RULES
from tests.layers.making import fits
from tests.methods.declared import ALL, few
from tests.methods.waiting import DEVICE, no_waiting

LAYERS: dict[str, Callable[..., SpectralLayer]] = {
    **{f"zca-{rule}": partial(ZCAWhitening2d, 8, 4, truncation=rule) for rule in RULES},
    "pca-components": partial(PCADenoising2d, 8, components=3),
    "pca-energy": partial(PCADenoising2d, 8, energy=0.9),
}


FITTING = [
    (name, method)
    for name in LAYERS
    for method in ALL
    if fits(name, method, name.removeprefix("zca-"))
]


@pytest.mark.parametrize(
    ("name", "method", "dtype"),
    [
        *((name, method, torch.float32) for name, method in FITTING),
        *((name, "hybrid", torch.float16) for name in LAYERS),
    ],
)
def test_a_step_without_waiting(
    name: str, method: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_waiting(DEVICE, monkeypatch):
        layer = LAYERS[name](method=method, **few(method))
        X = torch.empty(6, 8, 3, 3, dtype=dtype).requires_grad_()
        inputs = [X, *layer.parameters()]
        assert torch.autograd.grad(layer(X).sum(), inputs)
        assert layer.latest is not None
        assert torch.autograd.grad(layer.eval()(X).sum(), inputs)


@pytest.mark.parametrize(("name", "method"), FITTING)
def test_forward_on_cuda_without_waiting(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What depends on the name of the device: without a driver autograd does not go backward."""
    with no_waiting("cuda", monkeypatch):
        layer = LAYERS[name](method=method, **few(method))
        X = torch.empty(6, 8, 3, 3)
        layer(X)
        layer.eval()(X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 3, 9])
def test_no_layout_waits(
    side: int,
    memory_format: torch.memory_format,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with no_waiting("cuda", monkeypatch):
        layer = ZCAWhitening2d(8, 4)
        X = torch.empty(6, 8, side, side, dtype=dtype).to(memory_format=memory_format)
        layer(X)
        with torch.no_grad():
            layer.eval()(X)
    with no_waiting(DEVICE, monkeypatch):
        layer = ZCAWhitening2d(8, 4)
        X = torch.empty(6, 8, side, side, dtype=dtype).to(memory_format=memory_format)
        assert torch.autograd.grad(layer(X.requires_grad_()).sum(), [X, *layer.parameters()])
