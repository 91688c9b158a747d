"""`eigbench run`: a suite from a file, or a shipped one by its name."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.cli.plugins import Plugin
from eigbench.errors import InputError
from eigbench.kinds.train import changed
from eigbench.runs.suite import Suite, at_scale, find, load

USUAL_SCALE = "short"
"""Of a suite that has scales; the paper's own takes days on a GPU."""


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A .toml file or a shipped name.")],
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="smoke, short or paper, for suites that have it. [default: short]"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME|FOLDER", help="Images for a training suite, if not its own."),
    ] = None,
    seeds: options.Seeds = None,
    device: options.Device = None,
    _plugin: Plugin = None,
    out: options.Out = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Run a suite and write its report."""
    loaded = _scaled(load(find(suite)), scale)
    if data is not None:
        if loaded.training is None:
            raise InputError(f"--data: suite {loaded.name!r} trains nothing")
        training = changed(loaded.training, {"data": data})
        loaded = msgspec.structs.replace(loaded, training=training)
    wanted = loaded.device if device is None else device
    loaded = options.with_seeds_and_device(loaded, seeds, wanted)
    execute(loaded, out, resume=resume, quiet=quiet, no_progress=no_progress)


def _scaled(suite: Suite, scale: str | None) -> Suite:
    if scale is None:
        return at_scale(suite, USUAL_SCALE) if USUAL_SCALE in suite.scales else suite
    try:
        return at_scale(suite, scale)
    except InputError as error:
        raise InputError(f"--scale: {error}") from None
