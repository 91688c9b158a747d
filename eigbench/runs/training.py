"""What all trainings of a suite share: data, recipe, and the scales that shorten them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from eigbench.architectures import STEM_CHANNELS
from eigbench.errors import InputError
from eigbench.methods.registry import parameter_names
from eigbench.runs.case import Parameters, TrainCase

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]

LAYERS = ("bn", "zca", "pca", "none")
SCHEDULES = ("steps", "one-cycle", "constant")
PRECISIONS = ("float32", "float64", "bfloat16")


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data and recipe. The defaults are those of the paper's released program."""

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

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to shorten a suite for a machine: fewer trials, and a changed recipe."""

    about: str = ""
    seeds: Count | None = None
    training: dict[str, Any] = {}


RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "learning_rate": 0.1,
        "schedule": "steps",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "label_smoothing": 0.0,
    },
    "modern": {
        "learning_rate": 0.2,
        "schedule": "one-cycle",
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
    },
}
"""How to train; "modern" also takes bfloat16 where there is CUDA."""


def changed(training: Training, changes: Mapping[str, Any]) -> Training:
    """The training with some settings changed; `InputError` for an unknown or wrong one."""
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return msgspec.convert({**msgspec.to_builtins(training), **given}, Training)
    except msgspec.ValidationError as error:
        raise InputError(f"training: {error}") from error


def data_name(source: str) -> str:
    """What a data set is called in a case: its own name, or the folder's."""
    return "cifar10-mini" if source == "mini" else Path(source).resolve().name


def train_cases(
    training: Training, values: Mapping[str, Any], seeds: range, device: str
) -> Iterator[TrainCase]:
    """The trials of one grid: every cell once, then every cell again with the next seed."""
    shared = {
        name: getattr(training, name) for name in Training.__struct_fields__ if name != "data"
    }
    if training.deterministic and device != "cpu":
        # torch has no deterministic cumulated sum on CUDA, which Algorithm 1's energy is.
        raise InputError(
            f"deterministic (--deterministic): not on {device}, where some kernels are not; use cpu"
        )
    cells = list(_cells(values))
    for seed, cell in itertools.product(seeds, cells):
        yield TrainCase(**cell, **shared, data=data_name(training.data), seed=seed, device=device)


def _cells(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What varies between the cells of a grid. Axes that a layer does not have are left out."""
    absent = dict.fromkeys(("d", "components", "energy", "truncation", "epsilon"))
    for model, layer in itertools.product(values["model"], values["layer"]):
        shared = {**absent, "model": model, "layer": layer}
        if layer in ("zca", "pca"):
            yield from ({**shared, **cell} for cell in _decomposing(layer, values))
        else:
            yield {**shared, "method": layer, "parameters": {}}


def _decomposing(layer: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sizes = list(_whitened(values) if layer == "zca" else _denoised(values))
    names = ("epsilon", "iterations", "method")
    for size, *point in itertools.product(sizes, *(values[name] for name in names)):
        epsilon, iterations, method = point
        if not epsilon > 0:
            raise InputError(
                f"epsilon (--eps): {epsilon:g} is not valid; a layer needs one above 0"
            )
        parameters = taken(method, {"iterations": iterations, **values["parameters"]})
        yield {**size, "epsilon": epsilon, "method": method, "parameters": parameters}


def _whitened(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Groups of channels, and how their eigenpairs are truncated."""
    for d, truncation in itertools.product(values["d"], values.get("truncation", [None])):
        if STEM_CHANNELS % d:
            fitting = [n for n in range(1, STEM_CHANNELS + 1) if STEM_CHANNELS % n == 0]
            raise InputError(
                f"d (--d): {d} does not divide the {STEM_CHANNELS} channels after the first "
                f"convolution; these do: {', '.join(map(str, fitting))}"
            )
        yield {"d": d, "truncation": truncation}


def _denoised(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is kept: a number of eigenvectors, or a share of the variance."""
    kept = [{name: value} for name in ("components", "energy") for value in values.get(name, [])]
    if not kept:
        raise InputError("components, energy: layer pca needs values of one of them")
    yield from kept


def taken(method: str, parameters: Mapping[str, Any]) -> Parameters:
    """Those of the parameters that the method has."""
    names = parameter_names(method)
    return {name: value for name, value in parameters.items() if name in names}
