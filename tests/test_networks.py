"""The networks: counted by hand, stage by stage, and with any layer in the slot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18  # type: ignore[import-untyped]

from eigbench.errors import InputError
from eigbench.networks import CifarResNet, build


def _network(model: str = "resnet18", classes: int = 10, width: int = 64) -> CifarResNet:
    torch.manual_seed(0)
    return build(model, classes, nn.BatchNorm2d(64), width)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _convolution(inputs: int, outputs: int, kernel: int) -> int:
    """Without a bias, and the weight and bias of its batch normalisation."""
    return inputs * outputs * kernel**2 + 2 * outputs


def _resnet18_count(width: int, classes: int) -> int:
    count = _convolution(3, 64, 3)
    inputs = 64
    for planes in (width, 2 * width, 4 * width, 8 * width):
        count += _convolution(inputs, planes, 3) + 3 * _convolution(planes, planes, 3)
        if planes != width or inputs != planes:  # a stride, or other channels: a projection
            count += _convolution(inputs, planes, 1)
        inputs = planes
    return count + (inputs + 1) * classes


def _resnet50_count(width: int, classes: int) -> int:
    count = _convolution(3, 64, 3)
    inputs = 64
    for planes, blocks in ((width, 3), (2 * width, 4), (4 * width, 6), (8 * width, 3)):
        if planes != width or inputs != 4 * planes:
            count += _convolution(inputs, 4 * planes, 1)
        for _ in range(blocks):
            count += _convolution(inputs, planes, 1) + _convolution(planes, planes, 3)
            count += _convolution(planes, 4 * planes, 1)
            inputs = 4 * planes
    return count + (inputs + 1) * classes


def test_resnet18_has_the_known_count() -> None:
    """The figure that is widely given for ResNet18 in the form for CIFAR-10."""
    assert _resnet18_count(64, 10) == 11_173_962
    assert _parameters(_network()) == 11_173_962


def test_resnet18_against_the_one_for_imagenet() -> None:
    """Fewer by the first kernel, 7² − 3² weights of 3 × 64, and by 990 classes of 512 + 1."""
    assert _parameters(resnet18()) - (49 - 9) * 3 * 64 - 990 * 513 == _parameters(_network())


@pytest.mark.parametrize("width", [1, 8, 16, 64])
@pytest.mark.parametrize("classes", [2, 100])
def test_counts(width: int, classes: int) -> None:
    small = _network("resnet18", classes, width)
    assert _parameters(small) == _resnet18_count(width, classes)
    if width < 64:
        large = _network("resnet50", classes, width)
        assert _parameters(large) == _resnet50_count(width, classes)


def test_resnet50_has_the_known_count() -> None:
    assert _resnet50_count(64, 10) == 23_520_842
    with torch.device("meta"):
        assert _parameters(_network("resnet50")) == 23_520_842


@pytest.mark.parametrize(("model", "expansion"), [("resnet18", 1), ("resnet50", 4)])
@pytest.mark.parametrize("width", [8, 12])
def test_shapes_stage_by_stage(model: str, expansion: int, width: int) -> None:
    network = _network(model, 7, width)
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        return lambda module, inputs, output: seen.update({name: tuple(output.shape)})

    parts = {"stem": network.stem, "layer": network.layer, "head": network.head}
    parts |= {f"stage {i}": stage for i, stage in enumerate(network.stages)}
    for name, part in parts.items():
        part.register_forward_hook(note(name))
    out = network(torch.randn(2, 3, 32, 32))
    wide = width * expansion
    assert seen == {
        "stem": (2, 64, 32, 32),
        "layer": (2, 64, 32, 32),
        "stage 0": (2, wide, 32, 32),
        "stage 1": (2, 2 * wide, 16, 16),
        "stage 2": (2, 4 * wide, 8, 8),
        "stage 3": (2, 8 * wide, 4, 4),
        "head": (2, 7),
    }
    assert out.shape == (2, 7)


def test_the_slot_is_used_once_and_before_relu() -> None:
    class Spy(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen = x
            return x - 1e6  # so that nothing is left after ReLU

    spy = Spy()
    network = build("resnet18", 5, spy, 4)
    assert network.layer is spy
    images = torch.randn(3, 3, 32, 32)
    logits = network(images)
    assert spy.calls == 1
    assert torch.equal(spy.seen, network.stem(images))
    assert (spy.seen < 0).any()
    # Three images alike: all that the stages saw were zeros.
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_the_slots_output_may_be_kept_for_the_backward_pass() -> None:
    class Keeps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x)  # its backward uses its output

    logits = build("resnet18", 5, Keeps(), 4)(torch.randn(2, 3, 32, 32))
    torch.autograd.backward(logits.sum())


def test_every_parameter_gets_a_gradient() -> None:
    network = _network("resnet50", 5, 4)
    logits = network(torch.randn(4, 3, 32, 32))
    torch.autograd.backward(nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_same_network_for_the_same_seed() -> None:
    first, same = _network(width=8), _network(width=8)
    torch.manual_seed(1)
    other = build("resnet18", 10, nn.BatchNorm2d(64), 8)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(first(images), same(images))
    assert not torch.equal(first(images), other(images))


def test_initialised_as_torchvision_does() -> None:
    """Kaiming by fan-out: a variance of 2/(k² · outputs), which torch's own start has not."""
    network = _network(width=32)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] ** 2 * module.out_channels
            variance = module.weight.var(correction=0).item() * fan_out / 2
            # The sample variance of n normal numbers spreads √(2/n) about its mean: five of those.
            assert variance == pytest.approx(1, abs=5 * (2 / module.weight.numel()) ** 0.5)
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_the_slot_keeps_its_own_start() -> None:
    layer = nn.Conv2d(64, 64, 1)
    nn.init.constant_(layer.weight, 0.5)
    network = build("resnet18", 10, nn.Sequential(layer), 4)
    assert (network.layer[0].weight == 0.5).all()  # type: ignore[index]


def test_channels_last_gives_the_same_logits() -> None:
    network = _network(width=8).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    logits = network(images.to(memory_format=torch.channels_last))
    assert torch.allclose(logits, expected, rtol=1e-9, atol=1e-12)
    torch.autograd.backward(logits.sum())


def test_learns_to_tell_two_images_apart() -> None:
    network = _network(classes=2, width=4)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_an_unknown_model() -> None:
    with pytest.raises(InputError, match=r"^no network 'vgg'; there are resnet18, resnet50$"):
        build("vgg", 10, nn.BatchNorm2d(64))


@pytest.mark.parametrize("width", [0, -64])
def test_a_width_below_1(width: int) -> None:
    with pytest.raises(InputError, match=f"^the width is {width}; it must be 1 or more"):
        build("resnet18", 10, nn.BatchNorm2d(64), width)


@pytest.mark.parametrize("classes", [0, -1])
def test_no_classes(classes: int) -> None:
    with pytest.raises(InputError, match=f"^a network for {classes} classes"):
        build("resnet18", classes, nn.BatchNorm2d(64))
