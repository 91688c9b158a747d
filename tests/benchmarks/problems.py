"""What the benchmarks time: decompositions, layers and training steps, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import eigbench
from eigbench.methods import get
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
    W = torch.randn(M.shape, dtype=M.dtype, generator=torch.Generator().manual_seed(1))
    return lambda: torch.autograd.grad(function(leaf), leaf, W)


def method_call(method: str, M: Tensor, function: str = "inverse-square-root") -> Call:
    """Of the eigenpairs, or of a function of M for a method that differentiates functions alone.

    In the dtype of M, as what it is compared with.
    """
    if get(method).differentiates == "functions":

        def composed(X: Tensor) -> Tensor:
            return eigbench.matrix_function(X, function, method=method, precision="input")

        return function_forward_and_backward(composed, M)
    return forward_and_backward(lambda X: eigbench.eigh(X, method=method), M)


class PublishedRoot(torch.autograd.Function):
    """M^(1/2) of `(batch, n, n)` as Song et al. (ICLR 2022) write it: MPA forward, Lya backward.

    The Padé approximant in powers of `I − M/‖M‖`, and six products in each of eight sign steps.
    """

    @staticmethod
    def forward(ctx: Any, M: Tensor) -> Tensor:
        norm = torch.linalg.matrix_norm(M, keepdim=True)
        identity = torch.eye(M.shape[-1], dtype=M.dtype).expand_as(M)
        rest = identity - M / norm
        P, Q, power = identity, identity, rest
        for p, q in PADE_IN_REST:
            P, Q, power = P + p * power, Q + q * power, torch.bmm(power, rest)
        root: Tensor = torch.linalg.solve(Q, P) * norm.sqrt()
        ctx.save_for_backward(root, norm)
        return root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        root, norm = ctx.saved_tensors
        B: Tensor = root / norm.sqrt()
        C: Tensor = gradients[0] / norm.sqrt()
        threefold = 3 * torch.eye(B.shape[-1], dtype=B.dtype)
        for _ in range(8):
            squared = torch.bmm(B, B)
            mixed = torch.bmm(torch.bmm(B, C), B)
            C = (torch.bmm(C, threefold - squared) - torch.bmm(squared, C) + mixed) / 2
            B = torch.bmm(B, threefold - squared) / 2
        return C / 2


PADE_IN_REST = [(-11 / 4, -9 / 4), (11 / 4, 7 / 4), (-77 / 64, -35 / 64), (55 / 256, 15 / 256),
                (-11 / 1024, -1 / 1024)]  # fmt: skip
"""Coefficients of z, z², … of the numerator and denominator of √(1 − z), [5/5]."""


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
