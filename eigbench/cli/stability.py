"""`eigbench stability`, `eigbench singular`: which gradient survives which matrices, how right."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from eigbench.axes import AXES, COMPLEX
from eigbench.cli.axis_options import Panel, options_of
from eigbench.cli.execute import execute
from eigbench.cli.options import RunOptions, Seeds, say
from eigbench.errors import InputError
from eigbench.kinds.base import Matrices
from eigbench.runs.suite import Suite, find, kind_of, load, override

File = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Your own matrices: .npy, .npz, .pt or .safetensors."),
]


NAMES = ("d", "method", "gap", "dtype", "epsilon", "iterations", "spectrum", "loss", "scale")
GRID = Panel("Axes of the grid", itemgetter(*NAMES)(AXES))
RECTANGULAR = Panel(
    "Axes of the grid",
    itemgetter("method", "function", "situation", "d", "dtype", "iterations")(AXES),
)


@options_of(axes=GRID)
def stability(
    axes: dict[str, list[Any]],
    *,
    matrices: File = None,
    seeds: Seeds = None,
    options: RunOptions,
) -> None:
    """Measure stability and accuracy of eigendecomposition gradients.

    Runs the shipped suite `stability`. An axis option replaces that axis: `--d 4 8 16`,
    `--d 4 --d 8` and `--d 4,8` mean the same.
    """
    suite = override(load(find("stability")), axes)
    suite = options.applied(suite, seeds)
    if matrices is not None:
        for name in ("d", "spectrum", "gap"):
            if name in axes:
                raise InputError(f"--{name} does not go with --matrices: the file decides it")
        limit = None if seeds is None else suite.seeds
        dtypes = axes.get("dtype", [])
        suite = _with_matrices(suite, matrices, limit, dtypes, quiet=options.quiet)
    execute(suite, options)


def _with_matrices(
    suite: Suite, file: Path, limit: int | None, dtypes: list[Any], *, quiet: bool
) -> Suite:
    """The suite with the user's matrices in place of its spectra."""
    from eigbench.data.matrices import load_matrices  # late: NumPy

    loaded = load_matrices(file)
    if not str(file).isprintable():
        raise InputError(
            f"--matrices: {str(file)!r} is not a name that a suite can hold; rename it"
        )
    complex_ = any(stack.dtype.kind == "c" for stack in loaded.by_size.values())
    if complex_ and not {*dtypes} & {*COMPLEX}:
        raise InputError(f"--matrices: {file} is complex; add --dtype {' or '.join(COMPLEX)}")
    for note in () if quiet else loaded.notes:
        say(note)
    counts = {str(n): len(stack) for n, stack in loaded.by_size.items()}
    if limit is not None:
        counts = {n: min(count, limit) for n, count in counts.items()}
    remembered = Matrices(file=str(file), sha256=loaded.sha256, count=counts)
    # A path, a profile and the paper's series have matrices of their own.
    grids = [grid for grid in suite.grids if kind_of(suite, grid) == "stability"]
    return msgspec.structs.replace(suite, matrices=remembered, grids=grids)


@options_of(axes=RECTANGULAR)
def singular(axes: dict[str, list[Any]], *, seeds: Seeds = None, options: RunOptions) -> None:
    """Measure gradients of functions of rectangular matrices: polar factors, low rank.

    Runs the shipped suite `singular`. An axis option replaces that axis: `--d 4 8 16`,
    `--d 4 --d 8` and `--d 4,8` mean the same.
    """
    execute(options.applied(override(load(find("singular")), axes), seeds), options)
