"""However images lie in memory, in whatever precision: the numbers are those of plain operations.

The truth is whitening in torch's own words in float64, differentiated by autograd.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eigbench.layers import PCADenoising2d, ZCAWhitening1d, ZCAWhitening2d, layout
from eigbench.layers.layout import Joined, Layout, Planes, Rows, layout_of
from tests.layers.making import cotangent, generator, images, randomise, relative, whitened

LAST = torch.channels_last
FORMATS = [torch.contiguous_format, LAST]
SIZES = {
    "planes": ((9, 8, 9), torch.contiguous_format, Planes),
    "joined": ((20, 4, 5), torch.contiguous_format, Joined),
    "rows": ((9, 8, 9), LAST, Rows),
    "small rows": ((20, 4, 5), LAST, Rows),
    "one position": ((200, 1, 1), torch.contiguous_format, Rows),
}


def wide(samples: int, height: int, width: int, mean: float = 0.5) -> Tensor:
    """`(N, 48, H, W)` in float64: six times eight channels, each with another draw."""
    drawn = [images(samples, height, width, mean=mean, seed=seed) for seed in range(6)]
    return torch.cat(drawn, 1)


def of(layer: nn.Module, X: Tensor, W: Tensor) -> tuple[Tensor, ...]:
    """Output, and gradients by input, γ and β."""
    leaf = X.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    Y = layer(leaf)
    return Y.detach(), *torch.autograd.grad(Y, [leaf, *layer.parameters()], W)


def truth(layer: Any, X: Tensor, W: Tensor, d: int) -> tuple[Tensor, ...]:
    """The same of plain operations in float64."""
    leaves = [x.detach().double().requires_grad_() for x in (X, layer.weight, layer.bias)]
    Y = whitened(leaves[0], d, leaves[1], leaves[2], d - 1)
    return Y.detach(), *torch.autograd.grad(Y, leaves, W.double())


def require_alike(layer: Any, X: Tensor, W: Tensor, d: int, tolerance: float) -> tuple[Tensor, ...]:
    found, right = of(layer, X, W), truth(layer, X, W, d)
    for one, other in zip(found, right, strict=True):
        assert relative(one, other) < tolerance
    return found


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mean", [0.3, 9.0])
@pytest.mark.parametrize("d", [4, 8])
@pytest.mark.parametrize("name", SIZES)
def test_numbers_are_those_of_plain_operations(
    name: str, d: int, mean: float, dtype: torch.dtype, *, on_gpu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With what is done on a GPU too, on the CPU."""
    size, memory_format, kind = SIZES[name]
    X = wide(*size, mean=mean).to(dtype).to(memory_format=memory_format)
    if on_gpu:
        monkeypatch.setattr(layout, "on_cpu", lambda _: False)
    layer = ZCAWhitening2d(48, d)
    randomise(layer)
    if dtype == torch.float64:
        layer = layer.double()
    W = cotangent(X).to(memory_format=memory_format)
    assert type(layout_of(X, dtype, d)) is kind
    # A rounding at the end in half precision; eigenvalues reach down to 1/700 of the largest.
    limit = {torch.float64: 1e-10, torch.float32: 1e-4}.get(dtype, 2 * torch.finfo(dtype).eps)
    found = require_alike(layer, X, W, d, limit)
    # Evaluation has a way of its own where there is no gradient.
    expected = layer.eval()(X)
    with torch.no_grad():
        Y = layer(X)
    assert relative(Y, expected) < limit
    assert Y.stride() == found[0].stride() == X.stride()


@pytest.mark.parametrize("of_output", FORMATS)
@pytest.mark.parametrize("of_input", FORMATS)
@pytest.mark.parametrize("size", [(9, 8, 9), (20, 4, 5)])
def test_the_gradient_by_the_output_may_lie_otherwise(
    size: tuple[int, int, int], of_input: torch.memory_format, of_output: torch.memory_format
) -> None:
    X = wide(*size).float().to(memory_format=of_input)
    W = cotangent(X).to(memory_format=of_output)
    layer = ZCAWhitening2d(48, 4)
    require_alike(layer, X, W, 4, 1e-4)
    _, by_input, *_ = of(layer, X, W)
    assert by_input.is_contiguous(memory_format=of_input)


class Passes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that read or write as many numbers as the images have."""

    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size, self.names = size, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, out) if isinstance(x, Tensor)]
        allocates = func._schema.name.startswith(("aten::empty", "aten::new_empty"))
        if max((x.numel() for x in tensors), default=0) >= self.size and not (
            func.is_view or allocates
        ):
            self.names.append(func._schema.name)
        return out


@pytest.mark.parametrize(
    ("memory_format", "dtype", "forward", "backward"),
    [
        (LAST, torch.float32, 4, 6),  # mean, centred, product, map; centred, sum, product, 2, sum
        (LAST, torch.bfloat16, 5, 8),
        (torch.contiguous_format, torch.float32, 4, 6),
        (torch.contiguous_format, torch.bfloat16, 5, 8),
    ],
)
def test_few_passes_over_the_images_on_a_gpu(
    memory_format: torch.memory_format, dtype: torch.dtype, forward: int, backward: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(layout, "on_cpu", lambda _: False)
    X = torch.randn(16, 64, 16, 16).to(dtype).to(memory_format=memory_format).requires_grad_()
    for layer in (ZCAWhitening2d(64, 4), ZCAWhitening2d(64), PCADenoising2d(64, 8)):
        W = torch.randn_like(X)
        with Passes(X.numel()) as first:
            Y = layer(X)
        with Passes(X.numel()) as second:
            torch.autograd.grad(Y, [X, *layer.parameters()], W)
        assert len(first.names) <= forward, first.names
        assert len(second.names) <= backward, second.names


# Features and sequences


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [4, 8])
@pytest.mark.parametrize("shape", [(200, 48), (30, 48, 9), (30, 48, 1), (8, 48, 80)])
def test_features_and_sequences(shape: tuple[int, ...], d: int, dtype: torch.dtype) -> None:
    four = wide(shape[0], 1, math.prod(shape[2:])).to(dtype)
    X = four.reshape(shape)
    layer: Any = ZCAWhitening1d(48, d).to(dtype)
    randomise(layer)
    W = cotangent(four)
    right = truth(layer, four, W, d)
    limit = 1e-4 if dtype == torch.float32 else 1e-10
    inputs = [X]
    if len(shape) == 3:  # as a network without convolutions has them, (N, L, C)
        inputs.append(X.transpose(1, 2).contiguous().transpose(1, 2))
    for one in inputs:
        found = of(layer, one, W.reshape(shape))
        assert found[0].shape == found[1].shape == shape
        for mine, other in zip(found, right, strict=True):
            assert relative(mine.reshape(other.shape), other) < limit
        layer.eval()
        expected = ZCAWhitening2d(48, d).to(dtype).eval()
        expected.load_state_dict(layer.state_dict())
        assert relative(layer(one).reshape(four.shape), expected(four)) < 1e-6
        layer.train()


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8,), (8, 5), (8, 5, 2)])
def test_what_is_no_feature_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, 4\) or \(N, 4, L\), not"):
        ZCAWhitening1d(4)(torch.zeros(shape))


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel in training"):
        ZCAWhitening1d(4)(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (nn.Linear(5, 8), (9, 5)),
        (nn.Linear(5, 8, bias=False), (9, 5)),
        (nn.Conv1d(5, 8, 3, padding=1, groups=1), (9, 5, 7)),
    ],
)
def test_features_fold_into_what_is_before_them(before: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = ZCAWhitening1d(8, 4)
    randomise(layer)
    X = torch.randn(shape, generator=generator(0))
    with torch.no_grad():
        for _ in range(5):
            layer(before(X))
    layer.eval()
    assert relative(layer.fold_into(before)(X), layer(before(X))) < 1e-5
    with pytest.raises(TypeError, match=r"into a torch.nn.Linear or torch.nn.Conv1d, not Conv2d"):
        layer.fold_into(nn.Conv2d(3, 8, 1))


def test_second_derivatives_of_features() -> None:
    layer = ZCAWhitening1d(4, method="eigh").double()
    X = images(6, 1, 1)[:, :4].reshape(6, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x) ** 2, X, atol=1e-4)


def test_a_layout_is_chosen_by_how_images_lie() -> None:
    def chosen(*shape: int, last: bool = False) -> type[Layout]:
        X = torch.empty(shape, memory_format=LAST if last else torch.contiguous_format)
        return type(layout_of(X, torch.float32, 4))

    assert chosen(2, 8, 8, 8) is Planes
    assert chosen(2, 8, 8, 8, last=True) is chosen(2, 8, 1, 1) is Rows
    assert chosen(2, 8, 7, 7) is Joined
