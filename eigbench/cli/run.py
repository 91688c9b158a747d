"""`eigbench run` and `eigbench report`: a suite from a file or by name, and its report again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from eigbench.cli.axis_options import options_of
from eigbench.cli.execute import conclude, execute
from eigbench.cli.options import Quiet, RunOptions, Seeds
from eigbench.errors import InputError, at
from eigbench.kinds.base import changed
from eigbench.runs.suite import Suite, at_scale, find, load

USUAL_PRESET = "short"
"""Of a suite that has presets; the paper's own takes days on a GPU."""


SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A .toml file or a shipped name.")]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="smoke, short or paper, for suites that have it.",
        show_default=USUAL_PRESET,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(metavar="NAME|FOLDER", help="Images for a training suite, if not its own."),
]


@options_of()
def run(
    *,
    suite: SuiteName,
    preset: Preset = None,
    data: Data = None,
    seeds: Seeds = None,
    options: RunOptions,
) -> None:
    """Run a suite and write its report."""
    execute(options.applied(resolved(suite, preset, data), seeds), options)


def resolved(suite: str, preset: str | None, data: str | None) -> Suite:
    """A suite by its name or file, at a preset, and with other images if some are given."""
    loaded = load(find(suite))
    with at("--preset"):
        if preset is not None or USUAL_PRESET in loaded.scales:
            loaded = at_scale(loaded, preset or USUAL_PRESET)
    if data is not None:
        if loaded.training is None:
            raise InputError(f"--data: suite {loaded.name!r} trains nothing")
        training = changed(loaded.training, {"data": data})
        loaded = msgspec.structs.replace(loaded, training=training)
    return loaded


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run.")],
    quiet: Quiet = False,
) -> None:
    """Write a run's report and figures again; the same records give the same bytes."""
    conclude(folder, quiet=quiet)
