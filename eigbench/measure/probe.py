"""What the steps of a training leave on their device, to be read together later."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

NOTHING = float("nan")

WELL_ABOVE = 10.0
"""Times ε from which an eigenvalue is one of the data, not of the ε that was added."""

Moment = Any
"""A time in seconds; or, on CUDA, an event, for which nobody waits."""


class Kept(NamedTuple):
    """One step's numbers, on the device."""

    scalars: Tensor
    """Loss, gradient norm, the layer's gradient norm and rank: `(4,)` float64."""
    covariance: Tensor | None
    """As the method saw it, `(G, d, d)`; None without a decomposition."""
    began: Moment
    ended: Moment


class Probe:
    """Watches the slot of a network: the gradient at its input, and the layer's latest spectrum.

    What `keep` is given stays on the device until `read`, which waits for it.
    """

    def __init__(self, network: nn.Module, device: torch.device, epsilon: float | None) -> None:
        self.kept: list[Kept] = []
        self._layer: Any = network.layer
        self._device = device
        self._epsilon = epsilon
        self._gradient: Tensor | None = None
        stem = network.stem
        assert isinstance(stem, nn.Module)  # noqa: S101  # what `networks.build` gives
        stem.register_forward_hook(self._watch)

    def _watch(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(self._keep_gradient)  # type: ignore[no-untyped-call]

    def _keep_gradient(self, gradient: Tensor) -> None:
        self._gradient = gradient  # its norm is not the step's to compute

    @torch.no_grad()
    def keep(self, loss: Tensor, gradient_norm: Tensor, began: Moment, ended: Moment) -> None:
        """Keep the numbers of the step that was just made."""
        gradient, self._gradient = self._gradient, None
        nothing = torch.full((), NOTHING, dtype=torch.float64, device=self._device)
        at_layer = nothing if gradient is None else norm_of([gradient], self._device)
        latest = getattr(self._layer, "latest", None)
        rank, covariance = nothing, None
        if latest is not None:
            # Of a map that is not finite no rank can be told.
            finite = latest.map.isfinite().all()
            rank = latest.rank.double().mean().masked_fill(~finite, NOTHING)
            covariance = latest.covariance
        scalars = torch.stack([loss.detach().double(), gradient_norm, at_layer, rank])
        self.kept.append(Kept(scalars, covariance, began, ended))

    def read(self) -> Iterator[dict[str, float]]:
        """What was kept, by series, a step at a time; ends with the first that is not finite."""
        kept, self.kept = self.kept, []
        if not kept:
            return
        scalars = torch.stack([one.scalars for one in kept]).tolist()
        # What follows a step that broke says nothing, and its matrices may be of any kind.
        whole = list(takewhile(lambda row: all(map(math.isfinite, row[:2])), scalars))
        scalars, kept = scalars[: len(whole) + 1], kept[: len(whole) + 1]
        spectra = _eigenvalues([one.covariance for one in kept])
        for row, one, values in zip(scalars, kept, spectra, strict=True):
            loss, gradient_norm, at_layer, rank = row
            yield {
                "loss": loss,
                "gradient_norm": gradient_norm,
                "layer_gradient_norm": at_layer,
                "step_seconds": seconds(one.began, one.ended),
                **({} if values is None else _spectrum(rank, values, self._epsilon)),
            }


def norm_of(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """The norm of all values together, `()` float64, so that no square overflows; 0 of none."""
    if not tensors:
        return torch.zeros((), dtype=torch.float64, device=device)
    norm: Tensor = torch.linalg.vector_norm(torch.stack([*map(_norm, tensors)]))
    return norm


ROW = 256
"""So many values have their norm taken in float32, which is right to 1e-7."""


def _norm(tensor: Tensor) -> Tensor:
    """The norm `()` float64 of one tensor.

    Of float32 on a CPU by rows: there torch takes 25 times as long to sum in float64.
    """
    dense = tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )
    plain = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and dense
    if plain and tensor.numel() % ROW == 0 and tensor.numel() > 0:
        rows = tensor.as_strided((tensor.numel() // ROW, ROW), (ROW, 1))
        norms = torch.linalg.vector_norm(rows, dim=1)
        if 1e-10 < norms.max() < math.inf:  # else a square may be too small or too large
            tensor = norms
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float64)
    return norm


def moment(device: torch.device) -> Moment:
    """Now, or on CUDA once the device has done all that it was given; does not wait for it."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def seconds(began: Moment, ended: Moment) -> float:
    """From one moment to another, which the device has passed."""
    if isinstance(began, float):
        return float(ended - began)
    return float(began.elapsed_time(ended)) / 1e3


def _eigenvalues(covariances: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Of each step's `(G, d, d)`, all in one batch: `(G, d)` float64, ascending, on the CPU.

    NaN if a covariance of the step is not finite; None where there is none.
    """
    found = [covariance.double() for covariance in covariances if covariance is not None]
    if not found:
        return [None] * len(covariances)
    together = torch.stack(found)
    finite = together.isfinite().flatten(1).all(1)
    usable = together.where(finite[:, None, None, None], 0.0)
    values = torch.linalg.eigvalsh(usable).masked_fill(~finite[:, None, None], NOTHING)
    each = iter(values.cpu())
    return [None if covariance is None else next(each) for covariance in covariances]


def _spectrum(rank: float, eigenvalues: Tensor, epsilon: float | None) -> dict[str, float]:
    """Rank kept, and ratios of neighbouring eigenvalues, of one step.

    The ratio λ(i+1)/λ(i), descending, is the mean over groups and neighbours, of all and of
    those of which the smaller is well above ε; the gap is the smallest and the condition number
    the largest of any group, infinite where rounding has made the smallest eigenvalue 0 or less.
    Of the covariance with ε added, as the method saw it.
    """
    # Rounding makes zeros negative, which as ratios would mean nothing.
    values = eigenvalues.clamp(min=0)
    smaller, larger = values[:, :-1], values[:, 1:]
    ratios = smaller / larger
    above = smaller >= WELL_ABOVE * (epsilon or 0.0)
    of_all, above_epsilon = ratios[larger > 0], ratios[above & (larger > 0)]
    return {
        "rank_kept": rank,
        "mean_neighbour_ratio": of_all.mean().item() if len(of_all) else NOTHING,
        "neighbour_ratio_above_epsilon": (
            above_epsilon.mean().item() if len(above_epsilon) else NOTHING
        ),
        "smallest_relative_gap": (1 - of_all).min().item() if len(of_all) else NOTHING,
        "condition_number": (values[:, -1] / values[:, 0]).max().item(),
    }
