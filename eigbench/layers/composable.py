"""The layers in plain differentiable operations: any derivative, any transform, any compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from eigbench.methods.base import symmetric_part
from eigbench.phases import phase


class Mapped(NamedTuple):
    """What a layer makes of the covariances of its G groups of d channels.

    `linear` `(G, d, d)` is applied to the centred channels. `matrix` `(G, d, d)` is what was
    decomposed, εI included, and `rank` `(G,)` the number of its eigenpairs that were kept.
    """

    linear: Tensor
    matrix: Tensor
    rank: Tensor


Rule = Callable[[Tensor], Mapped]
"""A layer's map from covariances `(G, d, d)`, differentiable by its method's own gradient."""


def covariance_of(X: Tensor, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean `(C,)` and covariance `(G, d, d)` of images `(N, C, H, W)`, in `dtype`."""
    with phase("covariance"):
        mean = X.to(dtype).mean((0, 2, 3))
        centred = (X - mean[:, None, None]).to(dtype).transpose(0, 1)
        matrices = centred.reshape(X.shape[1] // d, d, -1)
        return mean, symmetric_part(matrices @ matrices.mT) / matrices.shape[-1]


def transform(X: Tensor, mean: Tensor, linear: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`γ·L(x − μ) + β` for images `(N, C, H, W)`; in their dtype and memory format."""
    samples, channels, height, width = X.shape
    groups, d, _ = linear.shape
    with phase("products"):
        centred = (X - mean[:, None, None]).to(linear.dtype)
        scaled = linear * weight.view(groups, d, 1)
        product = scaled @ centred.reshape(samples, groups, d, height * width)
        output = (product + bias.view(groups, d, 1)).view(samples, channels, height, width)
        return output.to(X.dtype, memory_format=memory_format(X))


def normalise(
    X: Tensor, weight: Tensor, bias: Tensor, rule: Rule, d: int
) -> tuple[Tensor, Tensor, Mapped]:
    """Output, mean and map of a layer in training; all differentiable."""
    mean, covariance = covariance_of(X, d, weight.dtype)
    mapped = rule(covariance)
    return transform(X, mean, mapped.linear, weight, bias), mean, mapped


def memory_format(X: Tensor) -> torch.memory_format:
    """Channels last where `X` is laid out so and not also contiguous."""
    last = X.is_contiguous(memory_format=torch.channels_last) and not X.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
