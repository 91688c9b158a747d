"""`eigbench diagnose`: what is wrong with differentiating through your own matrices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from eigbench.errors import InputError, printable
from eigbench.runs.store import require_free

PATIENCE = 5.0
"""Seconds between two lines of progress where a terminal's line cannot be written again."""


def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Matrices: .npy, .npz, .pt or .safetensors, or a file that eigbench.watch saved.",
        ),
    ],
    gradients: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Upstream gradients: of M's shape for f(M), or keys eigenvalues, eigenvectors; "
            "left, singular_values, right.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write report.md and its picture into a new folder."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the verdict, or the report's path.")
    ] = False,
) -> None:
    """Say why a gradient through eigenvectors is NaN or wrong, and what to change.

    Every line that it advises was executed on the worst matrices, forward and backward, and its
    gradient compared with the exact one. Findings are no error: the exit code is 0.
    """
    if not file.exists():
        raise InputError(f"cannot read {file}: there is no such file")
    if out is not None:
        require_free(out)
    from rich.console import Console

    from eigbench.diagnosis.diagnose import diagnose as diagnosis_of
    from eigbench.diagnosis.page import show

    with _progress(quiet=quiet) as say:
        found = diagnosis_of(file, gradients, say=say)
    if not quiet:
        show(found.brief(), Console())
    elif out is None:
        typer.echo(found.verdict)
    if out is not None:
        typer.echo(str(found.write(out)))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what takes long: on one line of a terminal, or a line in a while."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    said = time.monotonic()
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with console.status("") as status:
            yield lambda words: status.update(Text(printable(words)))
    else:

        def say(words: str) -> None:
            nonlocal said
            if time.monotonic() > said + PATIENCE:
                said = time.monotonic()
                typer.echo(printable(words), err=True)

        yield say
