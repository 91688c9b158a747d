"""`eigbench profile`: what each method costs, and where the time goes."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.cli.lists import axis_values, setting_values
from eigbench.cli.plugins import Plugin
from eigbench.runs.profiled import about, with_profiling, with_traces
from eigbench.runs.suite import check, find, load, override

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
