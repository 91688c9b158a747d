"""`eigbench train`: short trainings on CIFAR with every method, and what became of them."""

from __future__ import annotations

from operator import itemgetter
from typing import Annotated, Any

import msgspec
import typer

from eigbench.axes import AXES, SETTINGS, one_of
from eigbench.cli.axis_options import Panel, options_of
from eigbench.cli.execute import execute
from eigbench.cli.options import RunOptions, Seeds
from eigbench.errors import InputError
from eigbench.kinds.base import changed
from eigbench.kinds.train import RECIPES
from eigbench.runs.suite import Suite, find, load, override

DEFAULT_LAYERS = ["bn", "zca"]
LAYER_OF_AXIS = {"d": "zca", "truncation": "zca", "components": "pca", "energy": "pca"}


def switch(option: str, about: str) -> Any:
    """An option of the recipe that is there or not."""
    return typer.Option(option, help=about, rich_help_panel="Data and recipe")


RECIPE = one_of("recipe", "--recipe", RECIPES, "Preset, which the later options override")
WHAT = Panel(
    "What is compared",
    [
        *itemgetter("method", "layer", "d", "components", "energy")(AXES),
        *itemgetter("iterations", "epsilon", "truncation", "model")(AXES),
    ],
)
HOW = Panel(
    "Data and recipe",
    [
        *itemgetter("data", "train_images", "width", "epochs", "steps", "batch")(SETTINGS),
        RECIPE,
        *itemgetter("learning_rate", "schedule", "precision")(SETTINGS),
    ],
    several=False,
)


@options_of(axes=WHAT, settings=HOW)
def train(
    axes: dict[str, list[Any]],
    settings: dict[str, Any],
    *,
    deterministic: Annotated[
        bool, switch("--deterministic", "Use deterministic algorithms only.")
    ] = False,
    compile_: Annotated[
        bool, switch("--compile", "Compile the training step by torch.compile.")
    ] = False,
    seeds: Seeds = None,
    options: RunOptions,
) -> None:
    """Train short CIFAR jobs with whitening or denoising layers, by every method.

    Runs the shipped suite `train-short`: minutes on two cores, on images that ship with the
    package. The paper's own tables are suites too: `eigbench run paper-table2 --preset short`.
    """
    recipe = settings.pop("recipe", None)
    settings |= {"deterministic": deterministic or None, "compiled": compile_ or None}
    suite = options.applied(load(find("train-short")), seeds)
    suite = _with_settings(_with_cells(suite, axes), recipe, settings)
    execute(suite, options)


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
        training = changed(training, RECIPES[recipe])
        if recipe == "modern" and not settings.get("precision") and _is_bfloat16_fast(suite.device):
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


def _is_bfloat16_fast(device: str) -> bool:
    import torch

    from eigbench.measure.half import is_bfloat16_fast

    return is_bfloat16_fast(torch.device(device))
