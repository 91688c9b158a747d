"""`eigbench merge`: one run of several."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from eigbench.cli.execute import conclude
from eigbench.cli.options import Quiet, say
from eigbench.errors import InputError
from eigbench.runs.merge import merge as merge_runs


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="A B... OUT", help="Folders of runs, and last the new folder."),
    ],
    quiet: Quiet = False,
) -> None:
    """Join runs of one suite from several machines, and write their report.

    Each machine may have run a part: `--part 1/2` and `--part 2/2`. Refused are runs of different
    suites, versions or programs of methods, and records of one case that differ.
    """
    *runs, out = folders
    if len(runs) < 2:
        raise InputError("merge takes the folders of two runs or more, and then a new folder")
    run = merge_runs(runs, out)
    if run.missing:
        there = shlex.quote(str(out))
        say(f"{len(run.missing)} cases are missing; to measure them:")
        say(f"eigbench run {there}/suite.toml --resume --out {there}")
    conclude(run.suite, out, quiet=quiet)
