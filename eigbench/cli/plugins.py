"""The option `--plugin FILE.py`: methods from files, there before anything names one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eigbench.cli.lists import ALL
from eigbench.errors import InputError
from eigbench.kinds.profile import REFERENCES


def _load(files: list[Path] | None) -> list[Path] | None:
    for file in files or []:
        from eigbench.methods import plugins  # late: torch

        try:
            names = plugins.load(file)
        except InputError as error:
            raise InputError(f"--plugin: {error}") from error
        taken = {name for references in REFERENCES.values() for name in references}
        for name in taken.intersection(names):
            raise InputError(f"--plugin: {file}: {name!r} is what methods are compared with")
        if ALL in names:
            raise InputError(f"--plugin: {file}: {ALL!r} stands for every method; rename yours")
    return files


# By a callback, so that the methods are there when the command itself looks at its other options.
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        callback=_load,
        help="A Python file that defines a method; may be repeated.",
    ),
]
