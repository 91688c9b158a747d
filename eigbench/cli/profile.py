"""`eigbench profile`: what each method costs, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Annotated, Any

import msgspec
import typer

from eigbench.axes import AXES, SETTINGS
from eigbench.cli.axis_options import Panel, options_of
from eigbench.cli.execute import execute
from eigbench.cli.options import RunOptions
from eigbench.errors import InputError
from eigbench.kinds.base import changed
from eigbench.runs.suite import Grid, Suite, check, find, load, override

Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Time the variants of torch.compile too.", rich_help_panel="What is timed"
    ),
]

Trace = Annotated[
    bool | None,
    typer.Option(
        "--trace/--no-trace",
        show_default="a few",
        help="Keep all traces, or none.",
        rich_help_panel="How it is timed",
    ),
]


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
    compile_too: Compile = False,
    trace: Trace = None,
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
    suite = about(suite, {name: axes.pop(name, None) for name in ("subject", "layer")})
    suite = check(with_traces(override(suite, axes), wanted=trace))
    execute(options.applied(suite), options)


def about(suite: Suite, wanted: Mapping[str, list[Any] | None]) -> Suite:
    """Those of its grids that are about some subjects or layers; `InputError` if none is.

    A grid without an axis, as an operation is without a layer, is left out if one is wanted.
    """
    grids = suite.grids
    for name, values in wanted.items():
        if values is not None:
            kept = [grid for grid in grids if set(getattr(grid, name) or ()) & set(values)]
            grids = [_restricted(grid, name, values) for grid in kept]
    if not grids:
        asked = "; ".join(f"--{n} {' '.join(map(str, v))}" for n, v in wanted.items() if v)
        there = "; ".join(f"--{n} {', '.join(_named(suite.grids, n))}" for n in wanted)
        raise InputError(
            f"{asked}: the suite {suite.name!r} has nothing about that; it has {there}"
        )
    return msgspec.structs.replace(suite, grids=grids)


def _named(grids: list[Grid], name: str) -> list[str]:
    """The values that an axis takes in any grid, each once."""
    return list(dict.fromkeys(str(value) for grid in grids for value in getattr(grid, name) or ()))


def _restricted(grid: Grid, name: str, values: list[Any]) -> Grid:
    kept = [value for value in getattr(grid, name) if value in values]
    return msgspec.structs.replace(grid, **{name: kept})


def with_traces(suite: Suite, *, wanted: bool | None) -> Suite:
    """The suite with traces of all of its profiles, or of none, or of those that it says."""
    if wanted is None:
        return suite
    grids = [msgspec.structs.replace(grid, trace=wanted) for grid in suite.grids]
    return msgspec.structs.replace(suite, grids=grids)
