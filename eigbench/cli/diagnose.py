"""`eigbench diagnose`: what is wrong with differentiating through your own matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eigbench.errors import InputError
from eigbench.runs.store import require_free


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
            help="Upstream gradients: of M's shape for f(M), or keys eigenvalues, eigenvectors.",
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

    Every method is run on the worst matrices, forward and backward, in float32 and float64, and its
    gradient is compared with the exact one. Findings are no error: the exit code is 0.
    """
    if not file.exists():
        raise InputError(f"cannot read {file}: there is no such file")
    if out is not None:
        require_free(out)  # before the slow imports
    from rich.console import Console

    from eigbench.diagnosis.diagnose import diagnose as diagnosis_of
    from eigbench.diagnosis.page import show

    found = diagnosis_of(file, gradients)
    if not quiet:
        show(found.brief(), Console())
    elif out is None:
        typer.echo(found.verdict)
    if out is not None:
        typer.echo(str(found.write(out)))
