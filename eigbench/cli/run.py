"""`eigbench run`: a suite from a file, or a shipped one by its name."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.runs.suite import find, load


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A .toml file or a shipped name.")],
    seeds: options.Seeds = None,
    device: options.Device = None,
    out: options.Out = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Run a suite and write its report."""
    count = options.read_seeds(seeds)
    loaded = load(find(suite))
    if count is not None:
        loaded = msgspec.structs.replace(loaded, seeds=count)
    wanted = loaded.device if device is None else device
    loaded = msgspec.structs.replace(loaded, device=options.resolve_device(wanted))
    execute(loaded, out, resume=resume, quiet=quiet, no_progress=no_progress)
