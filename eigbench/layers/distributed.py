"""Statistics of the batch that all processes hold together."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from eigbench.layers.statistics import Moments


def is_distributed() -> bool:
    """Whether there are other processes to share statistics with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def pool(own: Moments) -> Moments:
    """The moments of all processes' images together, the same on each.

    The scatters are about each process's own mean, so what those differ by is added, as in
    `statistics.moments`: processes may have different numbers of images, and a large mean costs
    no digits.
    """
    # Counts and sums in float64: float32 counts to 2²⁴ positions only.
    mean = own.mean.double()
    packed = torch.cat([torch.ones_like(mean[:1]), mean]) * own.positions
    dist.all_reduce(packed)
    count = packed[0].to(own.mean.dtype)
    mean = (packed[1:] / packed[0]).to(own.mean.dtype)
    groups, d, _ = own.scatter.shape
    apart = (own.mean - mean).view(groups, d, 1)
    scatter = own.scatter + own.positions * (apart @ apart.mT)
    dist.all_reduce(scatter)
    return Moments(count, mean, scatter)


def sum_over_processes(*parts: Tensor) -> list[Tensor]:
    """The sum over all processes of each tensor; all in one message."""
    packed = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(packed)
    sums = torch.split(packed, [part.numel() for part in parts])
    return [each.view(part.shape) for each, part in zip(sums, parts, strict=True)]
