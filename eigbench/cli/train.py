"""`eigbench train`: short trainings on CIFAR with every method, and what became of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import msgspec
import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.cli.lists import axis_values, setting_values
from eigbench.cli.plugins import Plugin
from eigbench.errors import InputError
from eigbench.runs.axes import AXES
from eigbench.runs.structure import Suite
from eigbench.runs.suite import find, load, override
from eigbench.runs.training import RECIPES, changed

DEFAULT_LAYERS = ["bn", "zca"]
LAYER_OF_AXIS = {"d": "zca", "truncation": "zca", "components": "pca", "energy": "pca"}

List = list[str] | None
Word = str | None


_axis = partial(options.list_option, "What is compared")
_setting = partial(options.word_option, "Data and recipe")


Methods = Annotated[
    List, _axis("--method", "Methods; `eigbench methods` lists them. all: every one.")
]
Layers = Annotated[List, _axis("--layer", "bn, zca, pca, none.")]
D = Annotated[List, _axis("--d", "Channels of a group (zca).")]
Components = Annotated[List, _axis("--components", "Eigenvectors kept (pca).")]
Energy = Annotated[List, _axis("--energy", "Share of the variance kept (pca).")]
Iterations = Annotated[List, _axis("--iterations", "K, for methods that have it.")]
Eps = Annotated[List, _axis("--eps", "ε in M + εI.")]
Truncation = Annotated[
    List, _axis("--truncation", "algorithm-1, none, released, pi-released (zca).")
]
Model = Annotated[List, _axis("--model", "resnet18, resnet50.")]

Data = Annotated[Word, _setting("--data", "NAME|FOLDER", "mini, cifar10, cifar100, or a folder.")]
Images = Annotated[Word, _setting("--train-images", "N", "Use so many, balanced by class.")]
Width = Annotated[Word, _setting("--width", "N", "Channels of the first blocks; the paper's: 64.")]
Epochs = Annotated[Word, _setting("--epochs", "N", "Epochs.")]
Steps = Annotated[Word, _setting("--steps", "N", "Stop after N steps.")]
Batch = Annotated[Word, _setting("--batch", "N", "Images of a batch.")]
Recipe = Annotated[Word, _setting("--recipe", "NAME", "paper, modern; the next options change it.")]
Rate = Annotated[Word, _setting("--lr", "RATE", "Learning rate, the largest.")]
Schedule = Annotated[Word, _setting("--schedule", "NAME", "steps, one-cycle, constant.")]
Precision = Annotated[Word, _setting("--precision", "NAME", "float32, float64, bfloat16.")]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="No other kernels.", rich_help_panel="Data and recipe"),
]


def train(
    method: Methods = None,
    layer: Layers = None,
    d: D = None,
    components: Components = None,
    energy: Energy = None,
    iterations: Iterations = None,
    eps: Eps = None,
    truncation: Truncation = None,
    model: Model = None,
    data: Data = None,
    train_images: Images = None,
    width: Width = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    recipe: Recipe = None,
    lr: Rate = None,
    schedule: Schedule = None,
    precision: Precision = None,
    deterministic: Deterministic = False,
    seeds: options.Seeds = None,
    device: options.Device = None,
    parameters: options.Settings = None,
    _plugin: Plugin = None,
    out: options.Out = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Train short CIFAR jobs with whitening or denoising layers, by every method.

    Runs the shipped suite `train-short`: minutes on two cores, on images that ship with the
    package. The paper's own tables are suites too: `eigbench run paper-table2 --scale short`.
    """
    cells = {"method": method, "layer": layer, "d": d, "components": components, "energy": energy,
             "iterations": iterations, "epsilon": eps, "truncation": truncation,
             "model": model}  # fmt: skip
    given = {"train_images": train_images, "width": width, "epochs": epochs, "steps": steps,
             "batch": batch, "learning_rate": lr, "schedule": schedule,
             "precision": precision}  # fmt: skip
    chosen = axis_values(cells)
    settings = {**setting_values(given), "data": data, "deterministic": deterministic or None}
    suite = options.with_seeds_and_device(load(find("train-short")), seeds, device)
    suite = options.with_settings(suite, parameters)
    suite = _with_settings(_with_cells(suite, chosen), recipe, settings)
    execute(suite, out, resume=resume, quiet=quiet, no_progress=no_progress)


def _with_cells(suite: Suite, chosen: dict[str, list[Any]]) -> Suite:
    """The suite's grid, with the layers and the axes that were asked for."""
    layers = chosen.get("layer", DEFAULT_LAYERS)
    for axis, layer in LAYER_OF_AXIS.items():
        if axis in chosen and layer not in layers:
            raise InputError(f"{AXES[axis].option} is for --layer {layer}, which is not asked for")
    if "pca" in layers and not chosen.keys() & {"components", "energy"}:
        raise InputError("--layer pca needs --components or --energy, for example --energy 0.99")
    fits_the_paper = set(layers) <= set(DEFAULT_LAYERS) and "model" not in chosen
    compare = suite.compare if fits_the_paper else ""
    return override(msgspec.structs.replace(suite, compare=compare), chosen)


def _with_settings(suite: Suite, recipe: str | None, settings: dict[str, Any]) -> Suite:
    """The suite with a recipe, and with single settings changed after it."""
    assert suite.training is not None  # noqa: S101  # the shipped suite has one
    training = suite.training
    if recipe is not None:
        if recipe not in RECIPES:
            raise InputError(f"--recipe: {recipe!r} is not valid; accepted: {', '.join(RECIPES)}")
        training = changed(training, RECIPES[recipe])
        if recipe == "modern" and suite.device.startswith("cuda"):
            training = changed(training, {"precision": "bfloat16"})
    if settings.get("data"):
        # How many of the shipped images are used says nothing of others.
        training = msgspec.structs.replace(training, train_images=None)
    if settings.get("steps") and not settings.get("epochs"):
        # Steps alone decide; an epoch has one at least.
        settings = {**settings, "epochs": settings["steps"]}
    training = changed(training, settings)
    is_cifar10 = training.data in ("mini", "cifar10")
    compare = suite.compare if is_cifar10 else ""
    return msgspec.structs.replace(suite, training=training, compare=compare)
