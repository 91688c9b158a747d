"""bfloat16 is taken where the device is faster with it, and there alone."""

from __future__ import annotations

import pytest
import torch

from eigbench.measure import half

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("instructions", "ratio", "fast"), [(True, 0.4, True), (True, 1.2, False), (False, 0.4, False)]
)
def test_a_cpu_needs_instructions_and_the_faster_convolution(
    instructions: bool, ratio: float, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half, "has_bfloat16_instructions", lambda: instructions)
    monkeypatch.setattr(half, "bfloat16_ratio", lambda: ratio)
    assert half.is_bfloat16_fast(CPU) == fast


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_cuda_is_asked_for_its_capability(
    capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert half.is_bfloat16_fast(CUDA) == fast


def test_the_ratio_is_measured_once() -> None:
    half.bfloat16_ratio.cache_clear()
    first = half.bfloat16_ratio()
    assert first > 0
    assert half.bfloat16_ratio() == first
    assert half.bfloat16_ratio.cache_info().hits == 1
