"""Train: a network from scratch with a decomposition in it, to its end or to where it breaks."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import msgspec

from eigbench.architectures import STEM_CHANNELS
from eigbench.errors import InputError
from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span, Values

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data and recipe that all trainings of a suite share.

    The defaults are those of the paper's released program.
    """

    data: str = "mini"
    """"mini", the set that ships with the package; "cifar10", "cifar100"; or a folder of images."""
    train_images: Count | None = None
    test_images: Count | None = None
    width: Count = 64
    epochs: Count = 350
    steps: Count | None = None
    batch: Annotated[int, msgspec.Meta(ge=2)] = 128
    learning_rate: Positive = 0.1
    schedule: Literal["steps", "one-cycle", "constant"] = "steps"
    """"steps": a tenth after each 2/7 of the run, which is every 100 of the paper's 350 epochs."""
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 5e-4
    label_smoothing: Share = 0.0
    augment: bool = True
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    deterministic: bool = False
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    record_every: Count = 1
    """Steps from one that is recorded to the next, so that records of long trials stay small."""
    compiled: bool = False
    """Whether torch.compile makes the training step of what follows the first convolution."""

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")


RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "learning_rate": 0.1,
        "schedule": "steps",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "label_smoothing": 0.0,
        "memory_format": "contiguous",
    },
    "modern": {
        "learning_rate": 0.2,
        "schedule": "one-cycle",
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
        "memory_format": "channels_last",
    },
}
"""How to train; "modern" also takes bfloat16 where the device is faster with it."""


BY_STEP = ("loss", "gradient_norm", "layer_gradient_norm", "step_seconds")
"""The series of a trial, in the order of its record: a value a step."""
BY_STEP_WITH_PAIRS = (
    "rank_kept", "mean_neighbour_ratio", "neighbour_ratio_above_epsilon", "smallest_relative_gap",
    "condition_number",
)  # fmt: skip
"""Likewise, of a layer that decomposes; empty for others."""
ADDED = ("condition_number",)
"""Of these, those that records of version 0.1.0 do not have."""
BEFORE_A_FAILURE = 10
"""The last steps of a trial that broke are all recorded, whatever `record_every` is."""
BY_EPOCH = ("validation_error", "validation_loss", "epoch_steps")
"""A value an epoch."""


def data_name(source: str) -> str:
    """What a data set is called in a case: its own name, or the folder's."""
    return "cifar10-mini" if source == "mini" else Path(source).resolve().name


class TrainCase(
    MethodCase, tag="train", tag_field="kind", frozen=True, kw_only=True, omit_defaults=True
):
    """One training from scratch: one layer, one method, one seed, one recipe."""

    layer: str
    """"zca", "pca", "bn" (batch normalisation) or "none": after the first convolution."""
    method: str
    """How the layer differentiates its decomposition; "bn" or "none" where there is none."""
    parameters: Parameters
    d: int | None
    """Channels of a group (zca)."""
    components: int | None
    """Eigenvectors kept (pca)."""
    energy: float | None
    """Share of the variance kept (pca)."""
    epsilon: float | None
    truncation: str | None
    """Rule of truncation (zca); None is the method's own."""
    model: str
    width: int
    """Channels of the first stage of blocks; the paper's network has 64."""
    data: str
    """The name of the image set; its record holds a hash of the pixels."""
    train_images: int | None
    """How many training images are used, validation included; None is all."""
    test_images: int | None
    epochs: int
    steps: int | None
    """Stop after so many steps, if the epochs have not ended before."""
    batch: int
    learning_rate: float
    schedule: str
    momentum: float
    nesterov: bool
    weight_decay: float
    label_smoothing: float
    augment: bool
    precision: str
    deterministic: bool
    seed: int
    device: str
    memory_format: str = "contiguous"
    """How images and weights lie in memory: so, or "channels_last". Records leave the default out,
    as those of before there was a choice do."""
    record_every: int = 1
    """Every so many steps one is in the series, and `step` (from 0) says which; and the first, the
    last, and the last `BEFORE_A_FAILURE` of a trial that broke. Records leave out the default."""
    compiled: bool = False
    """Likewise."""

    def __post_init__(self) -> None:
        # What is left out is the very object that is the default, which a string is not that was
        # read from a file or came from another process.
        msgspec.structs.force_setattr(self, "memory_format", sys.intern(self.memory_format))

    @property
    def cell(self) -> Self:
        """The case without its seed: what the trials of one cell of a table have in common."""
        return msgspec.structs.replace(self, seed=0)

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """Series by step, in which pairs are those of a layer that decomposes, and by epoch."""
        yield BY_STEP, {lengths.get("loss", 0)}
        with_pairs = [name for name in BY_STEP_WITH_PAIRS if name in lengths or name not in ADDED]
        yield with_pairs, {0, lengths.get("loss", 0)}
        if self.record_every > 1:
            yield ("step",), {lengths.get("loss", 0)}
        yield BY_EPOCH, {lengths.get("epoch_steps", 0)}
        yield ("steps_planned", "peak_bytes", ":outcome", ":cause", ":peak_of"), {1}
        yield ("test_error",), {0, 1}
        yield (":data",), {3}


_DECOMPOSING = frozenset({"method", "epsilon", "iterations"})
_REQUIRED_BY_LAYER = {"zca": _DECOMPOSING | {"d"}, "pca": _DECOMPOSING}
"""What a grid needs besides, for the layers that decompose."""


Watch = Callable[[TrainCase, int, int, float], None]
"""Called after each step with the case, steps done and planned, and the last loss that was read."""


class Checkpoints(Protocol):
    """Where the state of the trial in flight is kept, by the case's id."""

    def load(self, case_id: str) -> dict[str, Any] | None:
        """What was saved last, or None."""
        ...

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace what was saved before."""
        ...

    def own(self, case_id: str) -> AbstractContextManager[None]:
        """Inside, whatever is raised ends the run: what was saved is not of this case."""
        ...


def _required(values: Values) -> frozenset[str]:
    layers = values.get("layer", ())
    needed = (_REQUIRED_BY_LAYER.get(layer, frozenset()) for layer in layers)
    return frozenset({"model", "layer"}).union(*needed)


def _expand(span: Span) -> Iterator[TrainCase]:
    """The trials of one grid: every cell once, then every cell again with the next seed."""
    training = span.training
    if training is None:
        return
    shared = {
        name: getattr(training, name) for name in Training.__struct_fields__ if name != "data"
    }
    if training.deterministic and span.device != "cpu":
        # torch has no deterministic cumulated sum on CUDA, which Algorithm 1's energy is.
        raise InputError(
            f"deterministic (--deterministic): not on {span.device}, where some kernels are not; "
            "use cpu"
        )
    data = data_name(training.data)
    cells = list(_cells(span))
    for seed, cell in itertools.product(range(span.seed, span.seed + span.seeds), cells):
        yield TrainCase(**cell, **shared, data=data, seed=seed, device=span.device)


def _cells(span: Span) -> Iterator[dict[str, Any]]:
    """What varies between the cells of a grid. Axes that a layer does not have are left out."""
    absent = dict.fromkeys(("d", "components", "energy", "truncation", "epsilon"))
    for point in span.points("model", "layer"):
        layer = point["layer"]
        if layer in ("zca", "pca"):
            yield from ({**absent, **point, **cell} for cell in _decomposing(layer, span))
        else:
            yield {**absent, **point, "method": layer, "parameters": {}}


def _decomposing(layer: str, span: Span) -> Iterator[dict[str, Any]]:
    for epsilon in span.values["epsilon"]:
        if not epsilon > 0:
            raise InputError(
                f"epsilon (--eps): {epsilon:g} is not valid; a layer needs one above 0"
            )
    sizes = _whitened(span.values) if layer == "zca" else _denoised(span.values)
    for size in sizes:
        for point in span.points("epsilon", "iterations", "method"):
            iterations = point.pop("iterations")
            parameters = span.accepted_parameters(point["method"], iterations=iterations)
            yield {**size, **point, "parameters": parameters}


def _whitened(values: Values) -> Iterator[dict[str, Any]]:
    """Groups of channels, and how their eigenpairs are truncated."""
    for d, truncation in itertools.product(values["d"], values.get("truncation", [None])):
        if STEM_CHANNELS % d:
            fitting = [n for n in range(1, STEM_CHANNELS + 1) if STEM_CHANNELS % n == 0]
            raise InputError(
                f"d (--d): {d} does not divide the {STEM_CHANNELS} channels after the first "
                f"convolution; these do: {', '.join(map(str, fitting))}"
            )
        yield {"d": d, "truncation": truncation}


def _denoised(values: Values) -> Iterator[dict[str, Any]]:
    """What is kept: a number of eigenvectors, or a share of the variance."""
    kept = [{name: value} for name in ("components", "energy") for value in values.get(name, [])]
    if not kept:
        raise InputError("components, energy: layer pca needs values of one of them")
    yield from kept


TRAIN = Kind(
    case=TrainCase,
    required=_required,
    expand=_expand,
    measurer="eigbench.measure.training:measurer",
    part="eigbench.report.chapters.training:part",
    comparison="eigbench.compare.rules:train",
    has_trials=True,
)
