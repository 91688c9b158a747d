"""`eigbench report`: the report again, from the records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eigbench.runs.store import REPORT


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the path, no more.")] = False,
) -> None:
    """Write a run's report and figures again; the same records give the same bytes."""
    from eigbench.report import write_report  # late: matplotlib

    verdict = write_report(folder)
    if not quiet:
        typer.echo(verdict)
    typer.echo(str(folder / REPORT))
