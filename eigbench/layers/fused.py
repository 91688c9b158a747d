"""A whole layer as one autograd function, which keeps its input and small matrices only.

With `x̃ = x − μ`, the covariance `Σ = (1/n) Σ x̃ x̃ᵀ` of a group, its map `T = rule(Σ)` and the
output `y = γ·T x̃ + β`, the backward pass of `W = ∂L/∂y` is

    C = Σ W x̃ᵀ,   ∂L/∂γ = (C Tᵀ)[i,i],   ∂L/∂β = Σ W,   ∂L/∂T = γ·C,
    ∂L/∂Σ by the method's own gradient from ∂L/∂T,
    ∂L/∂x = (γT)ᵀ W + (1/n)(∂L/∂Σ + ∂L/∂Σᵀ) x̃ − (γT)ᵀ (Σ W)/n.

The path through μ is the last term: `Σ x̃ = 0`, so Σ does not depend on μ to first order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from eigbench.layers import composable
from eigbench.layers.composable import Mapped, Rule
from eigbench.layers.layout import Images, layout_of
from eigbench.layers.statistics import moments, pool, sum_over_processes, total
from eigbench.methods.calling import recording
from eigbench.phases import phase


class Settings(NamedTuple):
    """A layer's `rule`, its `group_size`, and whether statistics are those of all processes."""

    rule: Rule
    group_size: int
    sync: bool


class _Normalise(torch.autograd.Function):
    """Forward and backward in two passes over memory each."""

    @staticmethod
    def forward(
        ctx: Any, X: Tensor, weight: Tensor, bias: Tensor, settings: Settings
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        # Else zeros are filled in for what has no gradient, each by a kernel.
        ctx.set_materialize_grads(False)
        rule, d, sync = settings
        with phase("covariance"):
            own, images = moments(X, weight.dtype, d)
            centring = images.mean is not None
            count, mean, scatter = pool(own) if sync else own
            if sync and centring:
                images = Images(images.layout, X, mean)
            covariance = scatter / count
        with torch.enable_grad():
            # The small graph from covariance to map is the method's; it lives on the context.
            mapped = rule(covariance.requires_grad_(ctx.needs_input_grad[0]))
        linear = mapped.linear.detach()
        ctx.settings, ctx.count, ctx.centring = settings, count, centring
        ctx.covariance, ctx.linear = covariance, mapped.linear
        ctx.save_for_backward(X, weight, bias, mean)
        outputs = (mean, linear, mapped.matrix.detach(), mapped.rank)
        ctx.mark_non_differentiable(*outputs)
        with phase("products"):
            scaled = linear * _by_row(weight, linear)
            constant = bias if centring else _without_centring(scaled, mean, bias)
            return images.layout.combine(X, constant, (scaled, images)), *outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        device = gradients[0].device.type
        with torch.autocast(device, enabled=False):
            if recording():
                with torch.enable_grad():
                    return *_differentiable_gradients(ctx, gradients[0]), None
            return *_gradients(ctx, gradients[0]), None


def normalise(
    X: Tensor, weight: Tensor, bias: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Mapped]:
    """Output, mean and map of a layer in training; only the output is differentiable."""
    output, mean, *mapped = _Normalise.apply(X, weight, bias, settings)
    return output, mean, Mapped(*mapped)


def transform(X: Tensor, mean: Tensor, linear: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`γ·L(x − μ) + β` for images `(N, C, H, W)`, without a gradient; dtype and layout stay."""
    layout = layout_of(X, weight.dtype, linear.shape[-1])
    return layout.combine(X, bias, (linear * _by_row(weight, linear), Images(layout, X, mean)))


def _by_row(weight: Tensor, linear: Tensor) -> Tensor:
    """`(C,)` as `(G, d, 1)`: a factor of each row of the map."""
    return weight.view(linear.shape[0], linear.shape[1], 1)


def _without_centring(linear: Tensor, mean: Tensor, constant: Tensor) -> Tensor:
    """The constant with which `linear · x` is what `linear · (x − mean) + constant` was."""
    return constant - (linear @ _by_row(mean, linear)).view(-1)


def _gradients(ctx: Any, W: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    X, weight, _, mean = ctx.saved_tensors
    linear = ctx.linear.detach()
    layout = layout_of(X, weight.dtype, linear.shape[-1])
    outer, images = Images(layout, W), Images(layout, X, mean if ctx.centring else None)
    with phase("products"):
        C, sums = _correlations(outer, images)
        if not ctx.centring:
            C = C - _by_row(sums, C) @ _by_row(mean, C).mT
        by_weight = (C * linear).sum(-1).view(-1)
    if not ctx.needs_input_grad[0]:
        return None, by_weight, sums
    rows = _by_row(weight, linear)
    by_map, by_mean = rows * C, sums
    if ctx.settings.sync:
        by_map, by_mean = sum_over_processes(by_map, by_mean)
    with phase("coefficients"):
        (by_covariance,) = torch.autograd.grad(
            ctx.linear, ctx.covariance, by_map, retain_graph=True
        )
    with phase("products"):
        direct = (linear * rows).mT
        through = (by_covariance + by_covariance.mT) / ctx.count
        constant = -(direct @ _by_row(by_mean / ctx.count, linear)).view(-1)
        if not ctx.centring:
            constant = _without_centring(through, mean, constant)
        by_input = layout.combine(X, constant, (direct, outer), (through, images))
        return by_input, by_weight, sums


def _correlations(outer: Images, images: Images) -> tuple[Tensor, Tensor]:
    """`Σ w xᵀ` `(G, d, d)` and `Σ w` `(C,)`."""
    layout = outer.layout
    samples = layout.samples(copying=outer.copied or images.copied)
    products, sums = [], []
    for w, x in zip(outer.chunks(samples), images.chunks(samples), strict=True):
        sums.append(layout.sums(w))
        products.append(layout.products(w, x))
    return total(products), total(sums)


def _differentiable_gradients(ctx: Any, W: Tensor) -> tuple[Tensor | None, ...]:
    """The same by plain operations, so that autograd can go through them once more."""
    if ctx.settings.sync:
        raise NotImplementedError("with sync=True there are no second derivatives")
    X, weight, bias, _ = ctx.saved_tensors
    mean, covariance = composable.covariance_of(X, ctx.linear.shape[-1], weight.dtype)
    # The very numbers of the forward pass, with the derivative of the plain operations: a
    # method that is sensitive to rounding must not decompose another matrix here.
    covariance = ctx.covariance.detach() + (covariance - covariance.detach())
    linear = ctx.settings.rule(covariance).linear
    if not torch.allclose(linear, ctx.linear, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise NotImplementedError(
            "second derivatives need a method that decomposes the same matrix twice alike; "
            "this one draws at random: give it a seed"
        )
    output = composable.transform(X, mean, linear, weight, bias)
    needed = ctx.needs_input_grad[:3]
    inputs = [x for x, need in zip((X, weight, bias), needed, strict=True) if need]
    found = iter(torch.autograd.grad(output, inputs, W, create_graph=True))
    return tuple(next(found) if need else None for need in needed)
