"""`eigbench stability`: which gradient survives which matrices, and how right it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from eigbench.cli import options
from eigbench.cli.execute import execute
from eigbench.cli.lists import axis_values
from eigbench.cli.plugins import Plugin
from eigbench.errors import InputError
from eigbench.runs.grids import kind_of
from eigbench.runs.structure import Matrices, Suite
from eigbench.runs.suite import find, load, override

List = list[str] | None


_axis = partial(options.list_option, "Axes of the grid")


D = Annotated[List, _axis("--d", "Matrix sizes.")]
Methods = Annotated[
    List, _axis("--method", "Methods; `eigbench methods` lists them. all: every one.")
]
Gaps = Annotated[List, _axis("--gap", "Relative eigengaps, 0 included.")]
Dtypes = Annotated[List, _axis("--dtype", "float32, float64.")]
Eps = Annotated[List, _axis("--eps", "ε in M + εI.")]
Iterations = Annotated[List, _axis("--iterations", "K, for methods that have it.")]
Spectra = Annotated[
    List,
    _axis(
        "--spectrum",
        "gap, cluster, geometric, rank-deficient, laplacian, identity, cifar-patches, cifar-conv.",
    ),
]
Losses = Annotated[
    List,
    _axis(
        "--loss",
        "whitening, whitening-truncated, square-root, subspace, reconstruction, eigenvector, "
        "closing-eigenvector.",
    ),
]
Scales = Annotated[List, _axis("--scale", "Factors on M.")]
File = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Your own: .npy, .npz, .pt or .safetensors."),
]


def stability(
    d: D = None,
    method: Methods = None,
    gap: Gaps = None,
    dtype: Dtypes = None,
    eps: Eps = None,
    iterations: Iterations = None,
    spectrum: Spectra = None,
    loss: Losses = None,
    scale: Scales = None,
    matrices: File = None,
    seeds: options.Seeds = None,
    device: options.Device = None,
    parameters: options.Settings = None,
    _plugin: Plugin = None,
    out: options.Out = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Measure stability and accuracy of eigendecomposition gradients.

    Runs the shipped suite `stability`. An axis option replaces that axis: `--d 4 8 16`,
    `--d 4 --d 8` and `--d 4,8` mean the same.
    """
    chosen = axis_values(
        {
            "d": d,
            "method": method,
            "gap": gap,
            "dtype": dtype,
            "epsilon": eps,
            "iterations": iterations,
            "spectrum": spectrum,
            "loss": loss,
            "scale": scale,
        }
    )
    suite = override(load(find("stability")), chosen)
    suite = options.with_settings(suite, parameters)
    suite = options.with_seeds_and_device(suite, seeds, device)
    if matrices is not None:
        given = {"--d": d, "--spectrum": spectrum, "--gap": gap}
        _refuse([name for name, words in given.items() if words])
        suite = _with_matrices(suite, matrices, options.read_seeds(seeds), quiet=quiet)
    execute(suite, out, resume=resume, quiet=quiet, no_progress=no_progress)


def _refuse(given: list[str]) -> None:
    if given:
        raise InputError(f"{given[0]} does not go with --matrices: the file decides it")


def _with_matrices(suite: Suite, file: Path, limit: int | None, *, quiet: bool) -> Suite:
    """The suite with the user's matrices in place of its spectra."""
    from eigbench.data.matrices import load_matrices  # late: NumPy

    loaded = load_matrices(file)
    if not str(file).isprintable():
        raise InputError(
            f"--matrices: {str(file)!r} is not a name that a suite can hold; rename it"
        )
    for note in () if quiet else loaded.notes:
        typer.echo(f"eigbench: {note}", err=True)
    counts = {str(n): len(stack) for n, stack in loaded.by_size.items()}
    if limit is not None:
        counts = {n: min(count, limit) for n, count in counts.items()}
    remembered = Matrices(file=str(file), sha256=loaded.sha256, count=counts)
    # A path, a profile and the paper's series have matrices of their own.
    grids = [grid for grid in suite.grids if kind_of(suite, grid) == "stability"]
    return msgspec.structs.replace(suite, matrices=remembered, grids=grids)
