"""`eigbench profile`: what each method costs, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import msgspec
import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.cli.lists import axis_values, setting_values
from eigbench.cli.plugins import Plugin
from eigbench.errors import InputError
from eigbench.kinds.profile import Profiling
from eigbench.runs.suite import Grid, Suite, check, find, load, override

List = list[str] | None
Word = str | None


_axis = partial(options.list_option, "What is timed")
_setting = partial(options.word_option, "How it is timed")

Subjects = Annotated[List, _axis("--subject", "operation, layer, step.")]
Methods = Annotated[
    List, _axis("--method", "Methods; `eigbench methods` lists them. all: every one.")
]
D = Annotated[List, _axis("--d", "Matrix sizes; channels of a group (zca).")]
Batch = Annotated[List, _axis("--batch", "Matrices of an operation, images of a layer.")]
Dtypes = Annotated[List, _axis("--dtype", "float32, float64, float16, bfloat16.")]
Layers = Annotated[List, _axis("--layer", "zca, pca: of a layer and a step.")]
Iterations = Annotated[List, _axis("--iterations", "K, for methods that have it.")]
Energy = Annotated[List, _axis("--energy", "Share of the variance kept (pca).")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Time the compiled variant too.", rich_help_panel="What is timed"
    ),
]

Inputs = Annotated[Word, _setting("--inputs", "fresh|cached", "New for each run, or not.")]
Rounds = Annotated[Word, _setting("--rounds", "N", "Rounds of each workload, at most.")]
Seconds = Annotated[Word, _setting("--seconds", "S", "Longest time of a workload.")]
Trace = Annotated[
    bool | None,
    typer.Option(
        "--trace/--no-trace",
        help="Keep traces of all, of none. [default: of a few]",
        rich_help_panel="How it is timed",
    ),
]


def profile(
    subject: Subjects = None,
    method: Methods = None,
    d: D = None,
    batch: Batch = None,
    dtype: Dtypes = None,
    layer: Layers = None,
    iterations: Iterations = None,
    energy: Energy = None,
    compile_too: Compile = False,
    inputs: Inputs = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    trace: Trace = None,
    device: options.Device = None,
    parameters: options.Settings = None,
    _plugin: Plugin = None,
    out: options.Out = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Time forward and backward of every method, with traces.

    Runs the shipped suite `profile`: the bare operation, the layers, and a training step of
    ResNet18. An axis option replaces that axis: `--d 16 64`, `--d 16 --d 64` and `--d 16,64` mean
    the same.
    """
    chosen = axis_values(
        {
            "subject": subject,
            "method": method,
            "d": d,
            "batch": batch,
            "dtype": dtype,
            "layer": layer,
            "iterations": iterations,
            "energy": energy,
        }
    )
    if compile_too:
        chosen["compiled"] = [False, True]
    settings = setting_values({"inputs": inputs, "rounds": rounds, "seconds": seconds})
    suite = with_profiling(load(find("profile")), settings)
    suite = about(suite, {name: chosen.pop(name, None) for name in ("subject", "layer")})
    suite = check(with_traces(override(suite, chosen), wanted=trace))
    suite = options.with_seeds_and_device(suite, None, device or suite.device)
    suite = options.with_settings(suite, parameters)
    execute(suite, out, resume=resume, quiet=quiet, no_progress=no_progress)


def with_profiling(suite: Suite, changes: Mapping[str, Any]) -> Suite:
    """The suite with some of its settings changed; `InputError` for a wrong one."""
    try:
        profiling = msgspec.convert({**msgspec.to_builtins(suite.profiling), **changes}, Profiling)
    except msgspec.ValidationError as error:
        raise InputError(f"profiling: {error}") from error
    return msgspec.structs.replace(suite, profiling=profiling)


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
