"""The layers on CUDA: against float64 on the CPU, in both layouts, in half precision, in graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.layers.base import SpectralLayer
from tests.gpu.counting import waits
from tests.gpu.graphs import captured
from tests.methods.matrices import relative

CHANNELS = 8
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "zca-4": partial(ZCAWhitening2d, CHANNELS, 4, truncation="none"),
    "zca-8": partial(ZCAWhitening2d, CHANNELS, truncation="none"),
    "pca": partial(PCADenoising2d, CHANNELS, 3),
}
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def _images(height: int = 9) -> Tensor:
    """`(5, 8, height, 7)` in float64, mixed so that the channels' eigenvalues are far apart."""
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(5, CHANNELS, height, 7, dtype=torch.float64, generator=generator)
    scales = 1.5 ** torch.arange(CHANNELS, dtype=torch.float64)
    mixing, _ = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, dtype=torch.float64,
                                            generator=generator))  # fmt: skip
    return torch.einsum("ij,njhw->nihw", mixing, X * scales[:, None, None] + 1).contiguous()


def _passed(layer: nn.Module, X: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and gradient by the input of a weighted sum of it."""
    X = X.detach().requires_grad_()
    output = layer(X)
    generator = torch.Generator().manual_seed(4)
    W = torch.randn(X.shape, dtype=torch.float64, generator=generator).to(X.device)
    (gradient,) = torch.autograd.grad((output * W).sum(), X)
    return output, gradient


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("method", ["spectral", "eigh"])
@pytest.mark.parametrize("name", LAYERS)
def test_as_float64_on_the_host(
    name: str, method: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    X = _images()
    # The same rounded images on both sides, so that their rounding is no error of the layer.
    X = X.to(dtype).double()
    expected = _passed(LAYERS[name](method=method).double(), X)
    there = X.to("cuda", dtype).to(memory_format=layout)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        found = _passed(LAYERS[name](method=method).cuda(), there)
    assert found[0].dtype == dtype
    assert found[0].is_contiguous(memory_format=layout)
    for ours, theirs in zip(found, expected, strict=True):
        assert relative(ours.cpu(), theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", LAYERS)
def test_no_more_waiting_than_the_decomposition(name: str) -> None:
    layer = LAYERS[name](method="spectral").cuda()
    X = _images().float().cuda()

    def work() -> None:
        _passed_on_device(layer, X)

    M = torch.eye(4, device="cuda").expand(2, 4, 4).clone()
    assert waits(work) <= waits(lambda: torch.linalg.eigh(M))


def _passed_on_device(layer: nn.Module, X: Tensor) -> None:
    X = X.detach().requires_grad_()
    torch.autograd.grad(layer(X).sum(), X)


def test_evaluation_can_be_captured_in_a_graph() -> None:
    layer = LAYERS["zca-4"](method="spectral").cuda()
    X = _images().float().cuda()
    layer(X)
    layer.eval()
    with torch.no_grad():
        expected = layer(2 * X)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = layer(X)
        X.mul_(2)
        graph.replay()
    assert relative(found.cpu(), expected.cpu()) < 1e-6


@pytest.mark.parametrize(
    "made",
    [
        partial(ZCAWhitening2d, CHANNELS, 4, "newton-schulz", steps=8),
        partial(ZCAWhitening2d, CHANNELS, 4, "spectral"),
        partial(ZCAWhitening2d, CHANNELS, 4, "hybrid"),
        partial(PCADenoising2d, CHANNELS, 3, method="hybrid"),
        partial(ZCAWhitening2d, 40, method="spectral"),
    ],
    ids=["newton-schulz", "spectral", "hybrid", "pca", "40"],
)
def test_training_can_be_captured_in_a_graph(made: Callable[..., SpectralLayer]) -> None:
    """Also with a decomposition, which torch's own call does not allow."""
    torch.manual_seed(0)
    layer = made().cuda()
    X = _images().float().cuda().repeat(1, layer.channels // CHANNELS, 1, 1)
    X = (X + torch.randn_like(X)).requires_grad_()
    W = torch.randn_like(X)
    graph, (found,) = captured(lambda: torch.autograd.grad((layer(X) * W).sum(), X))
    alone = copy.deepcopy(layer)  # nothing was computed while it was captured
    with torch.no_grad():  # other images than those it was captured with
        X.copy_(X.roll(1, 0) * 2)
    graph.replay()
    (expected,) = torch.autograd.grad((alone(X) * W).sum(), X)
    assert relative(found.cpu(), expected.cpu()) < 1e-4
    assert relative(layer.running_map.cpu(), alone.running_map.cpu()) < 1e-4


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("method", ["spectral", "hybrid"])
def test_compiled_for_graphs(method: str) -> None:
    layer = ZCAWhitening2d(CHANNELS, 4, method).cuda()
    alone = copy.deepcopy(layer)
    compiled = torch.compile(layer, mode="reduce-overhead", dynamic=False)
    for turn in range(4):
        X = (_images().float().cuda() * (1 + turn)).requires_grad_()
        W = torch.randn_like(X)
        (found,) = torch.autograd.grad((compiled(X) * W).sum(), X)
        (expected,) = torch.autograd.grad((alone(X) * W).sum(), X)
        assert relative(found.cpu(), expected.cpu()) < 1e-4


def test_a_batch_norm_is_replaced_in_a_network_under_autocast() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3), ZCAWhitening2d(CHANNELS, 4), nn.ReLU(), nn.Flatten()
    ).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    X = torch.randn(4, 3, 9, 9, device="cuda").to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        loss = network(X).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
