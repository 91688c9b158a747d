"""ResNet18 and ResNet50 in the form for CIFAR, with a slot after the first convolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu
from torchvision.models.resnet import (  # type: ignore[import-untyped]
    BasicBlock,
    Bottleneck,
    conv1x1,
)

from eigbench.architectures import BLOCKS, MODELS, STEM_CHANNELS
from eigbench.errors import InputError, NotApplicable
from eigbench.layers import PCADenoising2d, ZCAWhitening2d

_BLOCKS: dict[str, Any] = {"resnet18": BasicBlock, "resnet50": Bottleneck}


class CifarResNet(nn.Module):
    """A residual network for 32×32 images: `(B, 3, 32, 32)` to logits `(B, classes)`.

    K. He et al., Deep residual learning for image recognition, 2016; with a 3×3 convolution of
    stride 1 in place of the 7×7 one of stride 2 and its pooling, as the paper has it (§3).
    """

    def __init__(
        self,
        block: Any,
        counts: tuple[int, int, int, int],
        classes: int,
        layer: nn.Module,
        width: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False)
        self.layer = layer
        stages, channels = [], STEM_CHANNELS
        for place, count in enumerate(counts):
            planes = width * 2**place
            stages.append(_stage(block, count, channels, planes, stride=1 if place == 0 else 2))
            channels = planes * block.expansion
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)
        # Not the slot: a layer there has an initialisation of its own.
        for module in (self.stem, *self.stages.modules()):
            _initialise(module)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, classes)` of normalised images `(B, 3, 32, 32)`."""
        return self.after_stem(self.stem(images))

    def after_stem(self, features: Tensor) -> Tensor:
        """Logits of what the first convolution gives, `(B, 64, 32, 32)`: the slot and the rest."""
        # Not in place: whatever is in the slot may keep its output for the backward pass.
        features = self.stages(relu(self.layer(features)))
        logits: Tensor = self.head(avg_pool2d(features, 4).flatten(1))
        return logits


def build(model: str, classes: int, layer: nn.Module, width: int = 64) -> CifarResNet:
    """ResNet18 or ResNet50 for 32×32 images with `layer` (64 channels) in its slot.

    `network.stem` is the first convolution, `network.layer` the slot: the whitening under study,
    or batch normalisation for the baseline. The four stages are width, 2·width, 4·width and
    8·width wide (four times that out of ResNet50's blocks). Drawn from torch's global generator.
    `InputError` for an unknown model, or a width or number of classes below 1.
    """
    if model not in _BLOCKS:
        raise InputError(f"no network {model!r}; there are {', '.join(MODELS)}")
    if width < 1:
        raise InputError(f"the width is {width}; it must be 1 or more (64 is the paper's)")
    if classes < 1:
        raise InputError(f"a network for {classes} classes cannot be built; 1 or more are right")
    block, counts = _BLOCKS[model], BLOCKS[model]
    return CifarResNet(block, counts, classes, layer, width)


def _stage(block: Any, count: int, channels: int, planes: int, *, stride: int) -> nn.Sequential:
    """`count` blocks, the first of which changes size and channels."""
    out = planes * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out))
    first = block(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(block(out, planes) for _ in range(count - 1)))


def _initialise(module: nn.Module) -> None:
    """As torchvision's ResNet does; batch normalisation starts with weights 1 and biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


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
