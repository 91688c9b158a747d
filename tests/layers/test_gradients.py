"""The gradient through the whole layer, against central differences and plain compositions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from tests.layers.making import (
    LAYERS,
    central_differences,
    cotangent,
    directions,
    fits,
    gradients,
    images,
    made,
    randomise,
    relative,
    reproducible,
    slopes,
    whitened,
)
from tests.methods.declared import EXACT, converged


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, method) for name in LAYERS for method in EXACT if fits(name, method)],
)
def test_gradients_are_those_of_central_differences(name: str, method: str) -> None:
    require_exact(made(name, method, **converged(method), **reproducible(method)))


@pytest.mark.parametrize("components", [1, 3, 7])
def test_the_rule_of_the_leading_subspace_is_exact_for_denoising(components: int) -> None:
    layer = PCADenoising2d(8, components, method="subspace", leading=components).double()
    randomise(layer)
    require_exact(layer)


def require_exact(layer: Any) -> None:
    """All gradients of a layer are those of central differences of its forward pass."""
    X = images()
    found = gradients(layer, X)

    @torch.no_grad()
    def loss() -> Tensor:
        output: Tensor = layer(X)
        return (output * cotangent(output)).sum()

    for gradient, by in zip(found, [X, layer.weight.detach(), layer.bias.detach()], strict=True):
        # Differences of step 1e-5 are good to about step² and to rounding/step: 1e-9.
        along = directions(by)
        assert relative(slopes(gradient, along), central_differences(loss, by, along)) < 1e-7


@pytest.mark.parametrize("truncation", ["none", "algorithm-1"])
@pytest.mark.parametrize("method", ["eigh", "spectral"])
def test_any_method_takes_either_truncation(method: str, truncation: str) -> None:
    layer = made("zca-4", method, truncation=truncation)
    X = images()
    found = gradients(layer, X)[0]

    @torch.no_grad()
    def loss() -> Tensor:
        output: Tensor = layer(X)
        return (output * cotangent(output)).sum()

    assert layer.latest.rank.tolist() == ([4, 4] if truncation == "none" else [3, 3])
    along = directions(X)
    assert relative(slopes(found, along), central_differences(loss, X, along)) < 1e-7


def denoised(X: Tensor, components: int, weight: Tensor, bias: Tensor) -> Tensor:
    """PCA denoising in torch's own words."""
    rows = X.permute(1, 0, 2, 3).flatten(1)
    deviation = (rows.var(1, correction=0, keepdim=True) + 1e-4).sqrt()
    Z = (rows - rows.mean(1, keepdim=True)) / deviation
    M = Z @ Z.T / Z.shape[1] + 1e-4 * torch.eye(len(Z), dtype=X.dtype)
    V = eigbench.eigh(M, method="hybrid", iterations=19)[1][:, -components:]
    flat: Tensor = (V @ (V.T @ Z)).view(X.transpose(0, 1).shape).transpose(0, 1)
    return flat * weight[:, None, None] + bias[:, None, None]


def require_alike(Y: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """The same output, and the same gradients by the inputs."""
    torch.testing.assert_close(Y, expected, rtol=1e-11, atol=1e-11)
    W = cotangent(Y)
    for found, by in zip(
        torch.autograd.grad(Y, inputs, W), torch.autograd.grad(expected, inputs, W), strict=True
    ):
        assert relative(found, by) < 1e-11


@pytest.mark.parametrize("d", [1, 2, 4, 8])
def test_whitening_with_19_terms_is_the_plain_composition(d: int) -> None:
    layer: Any = ZCAWhitening2d(8, d).double()
    X = images(4).requires_grad_()
    Y = layer(X)
    expected = whitened(X, d, layer.weight, layer.bias, max(1, d - 1))
    require_alike(Y, expected, [X, layer.weight, layer.bias])


@pytest.mark.parametrize("components", [1, 3, 8])
def test_denoising_with_19_terms_is_the_plain_composition(components: int) -> None:
    layer: Any = PCADenoising2d(8, components).double()
    X = images(4).requires_grad_()
    Y = layer(X)
    expected = denoised(X, components, layer.weight, layer.bias)
    require_alike(Y, expected, [X, layer.weight, layer.bias])


@pytest.mark.parametrize("name", ["zca-4", "pca-components"])
def test_second_derivatives_are_those_of_central_differences(name: str) -> None:
    layer = made(name, "eigh")
    X = images(2, 3, 3).requires_grad_()
    W, U = cotangent(X), cotangent(X, seed=3)

    def slope(X: Tensor, weight: Tensor, *, record: bool) -> Tensor:
        """The derivative along U of the loss: a number whose gradient takes second derivatives."""
        Y = torch.func.functional_call(layer, {"weight": weight}, (X,))
        (by,) = torch.autograd.grad((W * Y**2).sum(), X, create_graph=record)
        return (by * U).sum()

    weight = layer.weight
    found = torch.autograd.grad(slope(X, weight, record=True), [X, weight])
    for gradient, by in zip(found, [X.detach(), weight.detach()], strict=True):
        along = directions(by)
        truth = central_differences(lambda: slope(X, weight, record=False), by, along)
        assert relative(slopes(gradient, along), truth) < 1e-6


def test_no_second_derivative_where_the_map_is_random() -> None:
    layer = made("zca-4", "pi", iterations=2)
    X = images().requires_grad_()
    with pytest.raises(NotImplementedError, match="draws at random: give it a seed"):
        torch.autograd.grad(layer(X).sum(), X, create_graph=True)


def test_no_second_derivative_of_what_has_none() -> None:
    layer = made("zca-4", "subspace")
    X = images().requires_grad_()
    (by,) = torch.autograd.grad((layer(X) ** 3).sum(), X, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad((by**2).sum(), X)


def test_backward_twice_gives_the_same() -> None:
    layer = made("zca-4")
    X = images().requires_grad_()
    Y = layer(X)
    first, second = (torch.autograd.grad(Y, X, cotangent(Y), retain_graph=True) for _ in range(2))
    assert torch.equal(first[0], second[0])


def test_inputs_without_a_gradient() -> None:
    layer = made("zca-4")
    X = images()
    expected = gradients(layer, X)
    Y = layer(X)
    by_weight, by_bias = torch.autograd.grad(Y, [layer.weight, layer.bias], cotangent(Y))
    torch.testing.assert_close(by_weight, expected[1])
    torch.testing.assert_close(by_bias, expected[2])
    layer.requires_grad_(requires_grad=False)
    X.requires_grad_()
    (by_input,) = torch.autograd.grad(layer(X), X, cotangent(Y))
    torch.testing.assert_close(by_input, expected[0])
    with torch.no_grad():
        torch.testing.assert_close(layer(X), Y)
