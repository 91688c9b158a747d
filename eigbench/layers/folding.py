"""A layer in evaluation mode merged into the convolution before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eigbench.errors import InputError


@torch.no_grad()
def fold(conv: nn.Conv2d, linear: Tensor, mean: Tensor, bias: Tensor) -> nn.Conv2d:
    """The convolution whose output is `linear · (conv(x) − mean) + bias`.

    `linear` is `(G, d, d)`, `mean` and `bias` are `(C,)`, all in the dtype to compute in. Raises
    `TypeError` for anything but a `Conv2d`, and `ValueError` where channels do not match.
    """
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"a layer folds into a torch.nn.Conv2d, not {type(conv).__name__}")
    groups, d, _ = linear.shape
    channels = groups * d
    if conv.out_channels != channels:
        raise InputError(
            f"the layer has {channels} channels, the convolution gives {conv.out_channels}"
        )
    share = channels // conv.groups
    if share % d:
        raise InputError(
            f"groups of {d} channels must lie within the convolution's {conv.groups} groups "
            f"of {share} channels each; {d} does not divide {share}"
        )
    folded = _like(conv)
    filters = conv.weight.to(linear).reshape(groups, d, -1)
    folded.weight.copy_((linear @ filters).view_as(conv.weight))
    offset = -mean if conv.bias is None else conv.bias.to(linear) - mean
    moved = (linear @ offset.view(groups, d, 1)).view(-1) + bias
    assert folded.bias is not None  # noqa: S101 - for the type checker: made with bias=True
    folded.bias.copy_(moved)
    return folded.train(conv.training)


def _like(conv: nn.Conv2d) -> nn.Conv2d:
    """A new convolution with the same settings, and a bias."""
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=True,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
