"""A layer merged into the convolution before it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eigbench.layers import ZCAWhitening2d
from tests.layers.making import LAYERS, generator, images, randomise, relative

CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "padding": 1},
    {"stride": 2, "padding": 1, "dilation": 2},
    {"padding": 2, "padding_mode": "reflect"},
    {"padding": "same", "padding_mode": "circular"},
]


def trained(layer: Any, conv: nn.Conv2d) -> Any:
    """The layer after some batches, in evaluation."""
    randomise(layer)
    with torch.no_grad():
        for seed in range(20):
            layer(conv(images(4, 9, 8, dtype=torch.float32, seed=seed)))
    return layer.eval()


@pytest.mark.parametrize("settings", CONVOLUTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_folded_is_one_after_the_other(name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, **settings)
    layer = trained(LAYERS[name](), conv)
    X = torch.randn(3, 8, 9, 8, generator=generator(0))
    before = {key: value.clone() for key, value in conv.state_dict().items()}
    folded = layer.fold_into(conv)
    assert relative(folded(X), layer(conv(X))) < 1e-5
    assert folded.bias is not None
    assert folded.weight.requires_grad
    assert all(torch.equal(before[key], value) for key, value in conv.state_dict().items())


@pytest.mark.parametrize(("d", "groups"), [(2, 4), (2, 2), (4, 2), (8, 1), (1, 8)])
def test_grouped_convolutions(d: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, groups=groups)
    layer = trained(ZCAWhitening2d(8, d), conv)
    X = torch.randn(3, 8, 9, 8, generator=generator(0))
    assert relative(layer.fold_into(conv)(X), layer(conv(X))) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_dtype_of_the_convolution(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(3, 8, 1, dtype=dtype)
    assert ZCAWhitening2d(8, 4).eval().fold_into(conv).weight.dtype == dtype


@pytest.mark.parametrize(
    ("conv", "kind", "error"),
    [
        (nn.ConvTranspose2d(3, 8, 1), TypeError, "into a torch.nn.Conv2d, not ConvTranspose2d"),
        (nn.Conv2d(3, 6, 1), ValueError, "has 8 channels, what is before it gives 6"),
        (nn.Conv2d(8, 8, 1, groups=4), ValueError, "convolution's 4 groups of 2 .* 4 does not"),
    ],
)
def test_what_does_not_fold(conv: Any, kind: type[Exception], error: str) -> None:
    with pytest.raises(kind, match=error):
        ZCAWhitening2d(8, 4).eval().fold_into(conv)


def test_in_training_nothing_folds() -> None:
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        ZCAWhitening2d(8, 4).fold_into(nn.Conv2d(3, 8, 1))
