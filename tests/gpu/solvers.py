"""`python -m tests.gpu.solvers`: the tables of docs/gpu.md, on the GPU at hand.

The solver of torch beside the batched one, and layers as they are and in a captured graph:
milliseconds by CUDA events, and the largest residual of each solver.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eigbench.layers import ZCAWhitening2d
from eigbench.methods.decomposition import decompose
from tests.gpu.graphs import captured

SIZES = (
    *((64, 16), (1024, 16), (64, 48), (64, 64), (1024, 33), (64, 128), (40, 176), (8, 256)),
    *((40, 352), (1, 64), (1, 256), (1, 1024)),
)
"""Matrices, and their size."""
ROUNDS = 15


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


def trained(layer: nn.Module, X: Tensor) -> Callable[[], Any]:
    """Forward and backward of a layer."""
    X = X.detach().requires_grad_()
    W = torch.randn_like(X)
    return lambda: torch.autograd.grad(layer(X), X, W)


def layers() -> None:
    """Forward and backward on 128 × 64 × 32 × 32, one row a group size and layout."""
    print("| group | layout | layer | as it is, ms | in a graph, ms |")  # noqa: T201
    for d, layout in itertools.product((16, 64), (torch.contiguous_format, torch.channels_last)):
        X = torch.randn(128, 64, 32, 32, device="cuda").to(memory_format=layout)
        M = covariances(64 // d, d, torch.float32)
        works: dict[str, Callable[[], Any]] = {
            "BatchNorm2d": trained(nn.BatchNorm2d(64).cuda(), X),
            "decomposition": partial(decompose, M),
            "spectral": trained(ZCAWhitening2d(64, d, "spectral").cuda(), X),
            "hybrid": trained(ZCAWhitening2d(64, d, "hybrid").cuda(), X),
        }
        eager = milliseconds([*works.values()])
        graphs = milliseconds([captured(work)[0].replay for work in works.values()])
        for name, one, other in zip(works, eager, graphs, strict=True):
            form = str(layout).removeprefix("torch.")
            print(f"| {d} | {form} | {name} | {one:.2f} | {other:.2f} |")  # noqa: T201


def solvers() -> None:
    """One row a dtype and size."""
    print("| dtype | matrices | n | torch, ms | here, ms | torch, residual | here, residual |")  # noqa: T201
    for dtype, (count, n) in itertools.product((torch.float32, torch.float64), SIZES):
        M = covariances(count, n, dtype)
        theirs, ours = milliseconds([partial(torch.linalg.eigh, M), partial(decompose, M)])
        errors = [residual(M, solve(M)) for solve in (torch.linalg.eigh, decompose)]
        name = str(dtype).removeprefix("torch.")
        row = (name, count, n, *(f"{x:.2f}" for x in (theirs, ours)), *(f"{x:.0e}" for x in errors))
        print("|", " | ".join(map(str, row)), "|")  # noqa: T201


def main() -> None:
    """All tables."""
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda)  # noqa: T201
    layers()
    solvers()


if __name__ == "__main__":
    main()
