"""What the benchmarks time: decompositions, layers and training steps, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eigbench.networks import build

Decomposition = Callable[[Tensor], tuple[Tensor, Tensor]]
Call = Callable[[], Any]

CHANNELS = 64


def torch_eigh(M: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(M)
    return values, vectors


def torch_svd(M: Tensor) -> tuple[Tensor, Tensor]:
    """As a whitening layer uses it: the singular values and the left vectors."""
    U, S, _ = torch.linalg.svd(M)
    return S, U


def covariances(count: int, n: int) -> Tensor:
    """`(count, n, n)`, or `(n, n)` for one: sample covariances, as a whitening layer has them."""
    generator = torch.Generator().manual_seed(n)
    X = torch.randn(count, n, 4 * n, generator=generator)
    M = X @ X.mT / X.shape[-1] + 1e-4 * torch.eye(n)
    return M if count > 1 else M[0]


def forward_and_backward(decompose: Decomposition, M: Tensor) -> Call:
    """One pass each way with fixed random cotangents, so that no loss is timed along."""
    generator = torch.Generator().manual_seed(1)
    leaf = M.clone().requires_grad_()
    by_values = torch.randn(M.shape[:-1], generator=generator)
    by_vectors = torch.randn(M.shape, generator=generator)

    def call() -> tuple[Tensor, ...]:
        values, vectors = decompose(leaf)
        return torch.autograd.grad((values, vectors), leaf, (by_values, by_vectors))

    return call


def function_forward_and_backward(function: Callable[[Tensor], Tensor], M: Tensor) -> Call:
    """The same of a function of M that is a matrix."""
    leaf = M.clone().requires_grad_()
    W = torch.randn(M.shape, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(function(leaf), leaf, W)


def images(batch: int = 128, mean: float = 0.0) -> Tensor:
    """As between the first convolution and the first block of ResNet18 on CIFAR."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, CHANNELS, 32, 32, generator=generator) + mean


def layer_forward_and_backward(layer: nn.Module, X: Tensor) -> Call:
    """One pass each way with a fixed random cotangent, so that no loss is timed along.

    The cotangent lies in memory as X does; half precision is that of autocast.
    """
    leaf = X.clone(memory_format=torch.preserve_format).requires_grad_()
    W = torch.empty_like(X).copy_(torch.randn(X.shape, generator=torch.Generator().manual_seed(1)))
    inputs = [leaf, *layer.parameters()]

    def call() -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16, enabled=X.dtype == torch.bfloat16):
            Y = layer(leaf)
        return torch.autograd.grad(Y, inputs, W)

    return call


def training_step(
    layer: nn.Module,
    batch: int,
    width: int = 64,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Call:
    """Forward and backward of ResNet18 on one batch of noise; its full width is 64.

    Without the update, which is the same for all layers.
    """
    torch.manual_seed(0)
    network = build("resnet18", 10, layer, width).to(memory_format=memory_format)
    X, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    X = X.to(memory_format=memory_format)
    parameters = list(network.parameters())

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(nn.functional.cross_entropy(network(X), labels), parameters)

    return call
