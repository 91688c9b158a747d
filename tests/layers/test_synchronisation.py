"""On a GPU a layer makes the host wait for nothing but what its decomposition itself asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.layers.base import SpectralLayer2d
from eigbench.methods import available
from eigbench.truncation import RULES
from tests.methods.waiting import DEVICE, SHORT, no_waiting

LAYERS: dict[str, Callable[..., SpectralLayer2d]] = {
    **{f"zca-{rule}": partial(ZCAWhitening2d, 8, 4, truncation=rule) for rule in RULES},
    "pca-components": partial(PCADenoising2d, 8, components=3),
    "pca-energy": partial(PCADenoising2d, 8, energy=0.9),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("method", "dtype"),
    [*((method, torch.float32) for method in available()), ("hybrid", torch.float16)],
)
def test_a_step_without_waiting(
    method: str, name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_waiting(DEVICE, monkeypatch):
        layer = LAYERS[name](method=method, **SHORT.get(method, {}))
        X = torch.empty(6, 8, 3, 3, dtype=dtype).requires_grad_()
        inputs = [X, *layer.parameters()]
        assert torch.autograd.grad(layer(X).sum(), inputs)
        assert layer.latest is not None
        assert torch.autograd.grad(layer.eval()(X).sum(), inputs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", available())
def test_forward_on_cuda_without_waiting(
    method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What depends on the name of the device: without a driver autograd does not go backward."""
    with no_waiting("cuda", monkeypatch):
        layer = LAYERS[name](method=method, **SHORT.get(method, {}))
        X = torch.empty(6, 8, 3, 3)
        layer(X)
        layer.eval()(X)
