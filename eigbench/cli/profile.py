"""`eigbench profile`: what each method costs, and where the time goes."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import Annotated, Any

import msgspec
import typer

from eigbench.axes import AXES, SETTINGS
from eigbench.cli.axis_options import Panel, options_of
from eigbench.cli.execute import execute
from eigbench.cli.options import RunOptions
from eigbench.kinds.base import changed
from eigbench.runs.suite import check, find, load, override

WHAT = Panel(
    "What is timed",
    [
        *itemgetter("subject", "method", "d", "batch", "dtype")(AXES),
        replace(AXES["layer"], help="Layer types of a layer or a step: zca, pca."),
        *itemgetter("iterations", "energy", "layout")(AXES),
    ],
)
HOW = Panel("How it is timed", itemgetter("inputs", "rounds", "seconds")(SETTINGS), several=False)


@options_of(axes=WHAT, settings=HOW)
def profile(
    axes: dict[str, list[Any]],
    settings: dict[str, Any],
    *,
    compile_too: Annotated[
        bool,
        typer.Option(
            "--compile", help="Time the variants of torch.compile too.", rich_help_panel=WHAT.title
        ),
    ] = False,
    trace: Annotated[
        bool | None,
        typer.Option(
            "--trace/--no-trace",
            show_default="a few",
            help="Keep all traces, or none.",
            rich_help_panel=HOW.title,
        ),
    ] = None,
    options: RunOptions,
) -> None:
    """Time forward and backward of every method, with traces.

    Runs the shipped suite `profile`: the bare operation, the layers, and a training step of
    ResNet18. An axis option replaces that axis: `--d 16 64`, `--d 16 --d 64` and `--d 16,64` mean
    the same.
    """
    if compile_too:
        axes["compiled"] = [False, True]
    suite = load(find("profile"))
    suite = msgspec.structs.replace(suite, profiling=changed(suite.profiling, settings))
    suite = override(suite, axes)
    if trace is not None:
        grids = [msgspec.structs.replace(grid, trace=trace) for grid in suite.grids]
        suite = msgspec.structs.replace(suite, grids=grids)
    execute(options.applied(check(suite)), options)
