"""`eigbench compare` and `eigbench merge`: two runs case by case, and one run of several."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from eigbench.axes import one_of, real
from eigbench.cli.execute import conclude
from eigbench.cli.options import Quiet, say
from eigbench.errors import InputError
from eigbench.runs.merge import merge as merge_runs

EXIT_REGRESSION = 1
FORMAT = one_of("format", "--format", ("markdown", "json"))
SLOWDOWN = real(
    "threshold",
    "--threshold",
    "numbers from 0 to 100, such as 0.05 for 5 %",
    lambda share: 0 <= share <= 100,
)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The folder of the run to judge.")],
    output: Annotated[
        str, typer.Option("--format", metavar="NAME", help="markdown or json.")
    ] = "markdown",
    everything: Annotated[
        bool, typer.Option("--all", help="List the cases without a change as well.")
    ] = False,
    fail: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression",
            help="Exit code 1 if B regresses in time, failures or errors.",
        ),
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Smallest slowdown that is a regression.", show_default="0.05"
        ),
    ] = None,
) -> None:
    """Compare two runs of any kind: what is faster, slower, fails more, is more accurate."""
    FORMAT.read(output)
    share = None if threshold is None else SLOWDOWN.read(threshold)
    from eigbench import compare as comparing

    found = comparing.compare(a, b, comparing.LEAST_SLOWDOWN if share is None else share)
    if output == "json":
        from eigbench.compare.model import to_json

        text = to_json(found)
    else:
        from eigbench.compare.text import to_markdown  # late, as scipy is loaded by now

        text = to_markdown(found, everything=everything)
    typer.echo(text, nl=False)
    if fail and found.regressions:
        raise typer.Exit(EXIT_REGRESSION)


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
    conclude(out, quiet=quiet)
