"""`python -m tests.gpu.solvers`: the solver of torch beside the batched one, on the GPU at hand.

Prints the table of docs/gpu.md: milliseconds by CUDA events, and the largest residual of each.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.decomposition import decompose

SIZES = (
    *((64, 16), (1024, 16), (64, 48), (64, 64), (1024, 33), (64, 128), (40, 176), (8, 256)),
    *((40, 352), (1, 64), (1, 256), (1, 1024)),
)
"""Matrices, and their size."""
ROUNDS = 9


def covariances(count: int, n: int, dtype: torch.dtype) -> Tensor:
    """`(count, n, n)` of 4n draws each, and 1e-4 on the diagonal."""
    generator = torch.Generator("cuda").manual_seed(0)
    X = torch.randn(count, n, 4 * n, device="cuda", generator=generator)
    return (X @ X.mT / (4 * n) + 1e-4 * torch.eye(n, device="cuda")).to(dtype)


def milliseconds(calls: list[Callable[[], Any]]) -> list[float]:
    """The median of each, called in turn."""
    for call in calls * 2:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for own, call in zip(taken, calls, strict=True):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            first.record()
            call()
            last.record()
            torch.cuda.synchronize()
            own.append(first.elapsed_time(last))
    return [statistics.median(own) for own in taken]


def residual(M: Tensor, pairs: tuple[Tensor, Tensor]) -> float:
    """`max|V Λ Vᵀ − M|/max|M|`, in float64."""
    values, V, M = pairs[0].double(), pairs[1].double(), M.double()
    return float(((V * values[..., None, :]) @ V.mT - M).abs().max() / M.abs().max())


def main() -> None:
    """One row a dtype and size."""
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda)  # noqa: T201
    print("| dtype | matrices | n | torch, ms | here, ms | torch, residual | here, residual |")  # noqa: T201
    for dtype, (count, n) in itertools.product((torch.float32, torch.float64), SIZES):
        M = covariances(count, n, dtype)
        theirs, ours = milliseconds([partial(torch.linalg.eigh, M), partial(decompose, M)])
        errors = [residual(M, solve(M)) for solve in (torch.linalg.eigh, decompose)]
        name = str(dtype).removeprefix("torch.")
        row = (name, count, n, *(f"{x:.2f}" for x in (theirs, ours)), *(f"{x:.0e}" for x in errors))
        print("|", " | ".join(map(str, row)), "|")  # noqa: T201


if __name__ == "__main__":
    main()
