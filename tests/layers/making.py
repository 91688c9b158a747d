"""Layers, images and independent gradients that the tests of layers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import eigbench
from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.methods import get
from eigbench.methods.functions import InverseSquareRoot, Projector, Truncated
from tests.methods.declared import WHITENING, takes

CHANNELS = 8

LAYERS: dict[str, Callable[..., Any]] = {
    "zca-2": lambda **k: ZCAWhitening2d(CHANNELS, 2, **k),
    "zca-4": lambda **k: ZCAWhitening2d(CHANNELS, 4, **k),
    "zca-all": lambda **k: ZCAWhitening2d(CHANNELS, **k),
    "pca-components": lambda **k: PCADenoising2d(CHANNELS, components=3, **k),
    "pca-energy": lambda **k: PCADenoising2d(CHANNELS, energy=0.9, **k),
}


def fits(layer: str, method: str, truncation: str = "none") -> bool:
    """Whether a method computes what a layer, `zca…` or `pca…`, asks of it."""
    some = torch.ones(CHANNELS)
    if layer.startswith("pca"):
        return takes(method, Projector(some))
    if truncation == "none":
        return method in WHITENING
    return takes(method, Truncated(InverseSquareRoot(), some))


def reproducible(method: str) -> dict[str, Any]:
    """Parameters with which a layer starts a method alike in each call."""
    return {"seed": 0} if "seed" in get(method).parameter_names() else {}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(
    samples: int = 3,
    height: int = 4,
    width: int = 5,
    *,
    dtype: torch.dtype = torch.float64,
    mean: float = 0.5,
    seed: int = 0,
) -> Tensor:
    """`(N, 8, H, W)` whose channels are mixed, so that eigenvalues are well apart."""
    draw = generator(seed)
    n = samples * height * width
    latent, _ = torch.linalg.qr(
        torch.randn(max(n, CHANNELS), CHANNELS, generator=draw, dtype=torch.float64)
    )
    spread = 1.6 ** -torch.arange(CHANNELS, dtype=torch.float64)
    mixing, _ = torch.linalg.qr(
        torch.randn(CHANNELS, CHANNELS, generator=draw, dtype=torch.float64)
    )
    flat = (mixing * spread) @ latent[:n].T * n**0.5 + mean
    shaped: Tensor = flat.view(CHANNELS, samples, height, width).transpose(0, 1)
    return shaped.contiguous().to(dtype)


def randomise(layer: nn.Module, seed: int = 1) -> None:
    """Random γ and β, as after some training."""
    draw = generator(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = torch.rand(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.copy_(drawn + 0.5)


def made(name: str, method: str = "hybrid", **parameters: Any) -> Any:
    """The layer in float64 with random γ and β."""
    layer = LAYERS[name](method=method, **parameters).double()
    randomise(layer)
    return layer


def cotangent(like: Tensor, seed: int = 2) -> Tensor:
    return torch.randn(like.shape, generator=generator(seed), dtype=torch.float64).to(like.dtype)


def gradients(layer: nn.Module, X: Tensor) -> tuple[Tensor, ...]:
    """∂L/∂X, ∂L/∂γ, ∂L/∂β for a fixed cotangent."""
    X = X.clone(memory_format=torch.preserve_format).requires_grad_()
    Y = layer(X)
    found: tuple[Tensor, ...] = torch.autograd.grad(Y, [X, *layer.parameters()], cotangent(Y))
    return found


def slopes(gradient: Tensor, directions: Tensor) -> Tensor:
    """The derivatives along each of the directions that a gradient says."""
    return directions.flatten(1) @ gradient.detach().flatten()


def central_differences(
    loss: Callable[[], Tensor], x: Tensor, directions: Tensor, step: float = 1e-5
) -> Tensor:
    """The derivatives of a loss along directions of `x`, which is moved in place and restored."""
    start = x.clone()
    found = []
    for direction in directions:
        ends = []
        for way in (step, -step):
            x.copy_(start + way * direction)
            ends.append(float(loss()))
        found.append((ends[0] - ends[1]) / (2 * step))
    x.copy_(start)
    return torch.tensor(found, dtype=x.dtype)


def directions(like: Tensor, count: int = 6, seed: int = 5) -> Tensor:
    """Random directions: a wrong gradient agrees with the truth along none of them."""
    return torch.randn(count, *like.shape, generator=generator(seed), dtype=torch.float64)


def relative(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖/‖truth‖, in float64."""
    found, truth = found.detach().double(), truth.detach().double()
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


def whitened(X: Tensor, d: int, weight: Tensor, bias: Tensor, kept: int) -> Tensor:
    """ZCA of the `kept` leading pairs in torch's own words, group by group."""
    groups = []
    for group in torch.split(X, d, dim=1):
        rows = group.permute(1, 0, 2, 3).flatten(1)
        centred = rows - rows.mean(1, keepdim=True)
        M = torch.cov(rows, correction=0) + 1e-4 * torch.eye(d, dtype=X.dtype)
        values, V = eigbench.eigh(M, method="hybrid", iterations=19)
        V, values = V[:, -kept:], values[-kept:]
        flat = V @ torch.diag(1 / values.sqrt()) @ V.T @ centred
        groups.append(flat.view(group.transpose(0, 1).shape).transpose(0, 1))
    return torch.cat(groups, 1) * weight[:, None, None] + bias[:, None, None]
