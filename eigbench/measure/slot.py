"""The module that a training or a profile puts into a network's slot for a layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from eigbench.architectures import STEM_CHANNELS
from eigbench.errors import InputError, NotApplicable
from eigbench.layers import PCADenoising2d, ZCAWhitening2d


def slot_module(layer: str, **settings: Any) -> nn.Module:
    """Batch normalisation ("bn"), nothing ("none"), or the layer "zca" or "pca".

    `settings` are the layer's own. `NotApplicable` if it refuses them: a method may not be able
    to do what the layer asks of it.
    """
    if layer == "bn":
        return nn.BatchNorm2d(STEM_CHANNELS)
    if layer == "none":
        return nn.Identity()
    make = ZCAWhitening2d if layer == "zca" else PCADenoising2d
    try:
        return make(STEM_CHANNELS, **settings)
    except InputError as error:
        raise NotApplicable(str(error)) from error
