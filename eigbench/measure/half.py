"""Whether a device trains faster in bfloat16 than in float32."""

from __future__ import annotations

import functools
import time

import torch
from torch import Tensor, nn

AMPERE = (8, 0)
"""The first capability of CUDA with units for bfloat16; those before emulate it."""

ROUNDS = 5


def is_bfloat16_fast(device: torch.device) -> bool:
    """By the capability on CUDA; on a CPU with instructions for it by one timed convolution."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= AMPERE
    return has_bfloat16_instructions() and bfloat16_ratio() < 1


def has_bfloat16_instructions() -> bool:
    """Whether the CPU has AMX or AVX512-BF16. Without them torch converts to and fro."""
    asked = (torch.cpu._is_amx_tile_supported, torch.cpu._is_avx512_bf16_supported)
    return any(supported() for supported in asked)


@functools.cache
def bfloat16_ratio() -> float:
    """Seconds of a convolution of ResNet18 on the CPU, there and back, over those in float32.

    The least of some rounds each, taken in turn; measured once in a process.
    """
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.zeros(16, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS + 1):
        for half, times in taken.items():
            times.append(_seconds(layer, images, half=half))
    # The first round of each prepares the kernels.
    return min(taken[True][1:]) / min(taken[False][1:])


def _seconds(layer: nn.Module, images: Tensor, *, half: bool) -> float:
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = layer(images)
    torch.autograd.grad(output.sum(), [images, *layer.parameters()])
    return time.perf_counter() - began
