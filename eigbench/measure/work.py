"""How much a run computes and keeps: floating-point operations, memory saved for the backward."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from eigbench.measure.clock import clock_for
from eigbench.measure.timing import Contestant

_aten = torch.ops.aten

EIGH_FLOPS = 9
"""Times n³: the symmetric QR algorithm with eigenvectors (Golub and Van Loan, §8.3)."""
SVD_FLOPS = 21
"""Times n³: the Golub–Reinsch algorithm with both factors (Golub and Van Loan, §8.6)."""

PEAK_SAMPLES = 5
PEAK_SECONDS = 0.02
"""A sample of the peak lasts so long at least."""
PEAK_SIZE = {"cpu": 1024, "cuda": 8192}


def flops(contestant: Contestant) -> dict[str, int]:
    """By pass: products of matrices and convolutions exactly, decompositions by convention.

    Elementwise operations are not counted.
    """
    counted = {}
    state: Any = contestant.prepare()
    for name, step in contestant.passes.items():
        with FlopCounterMode(display=False, custom_mapping=_RULES) as counter:
            state = step(state)
        counted[name] = counter.get_total_flops()
    return counted


def _eigh(shape: Any, *_: Any, **__: Any) -> int:
    return EIGH_FLOPS * _cubes(shape)


def _svd(shape: Any, *_: Any, **__: Any) -> int:
    return SVD_FLOPS * _cubes(shape)


def _cubes(shape: Any) -> int:
    *batch, n, _ = shape
    return int(torch.Size(batch).numel() * n**3)


def _added_product(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    """Of a batch of matrices, added in place."""
    count, rows, inner = left
    return int(2 * count * rows * inner * right[-1])


_RULES = {
    _aten._linalg_eigh: _eigh,
    _aten._linalg_svd: _svd,
    _aten.baddbmm_: _added_product,
}


def saved_bytes(contestant: Contestant) -> int:
    """Memory that the forward pass keeps for the backward pass, beyond inputs and parameters."""
    inputs = contestant.prepare()
    theirs = {_address(tensor) for tensor in (*inputs, *contestant.parameters)}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if _address(tensor) not in theirs:
            saved[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    forward, *later = contestant.passes.values()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        state = forward(inputs)
    for step in later:  # the tensors are alive until here, so that no address counts for two
        state = step(state)
    return sum(saved.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@functools.cache
def matmul_flops_per_second(dtype: torch.dtype, device: torch.device) -> tuple[float, ...]:
    """What a product of large matrices reaches here: raw samples, measured once a process."""
    n = PEAK_SIZE[device.type]
    if dtype == torch.float64 and device.type == "cuda":
        n //= 2
    left, right = (torch.ones(n, n, dtype=dtype, device=device) for _ in range(2))
    clock = clock_for(device)

    def seconds(runs: int) -> float:
        clock.settle()
        first = clock.mark()
        for _ in range(runs):
            torch.mm(left, right)
        last = clock.mark()
        clock.settle()
        return clock.seconds(first, last) / runs

    seconds(1)
    runs = max(1, round(PEAK_SECONDS / max(seconds(1), 1e-9)))
    return tuple(2 * n**3 / seconds(runs) for _ in range(PEAK_SAMPLES))
