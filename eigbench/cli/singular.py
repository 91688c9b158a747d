"""`eigbench singular`: whose gradient of a function of singular values is right."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from eigbench.axes import AXES
from eigbench.cli.axis_options import Panel, options_of
from eigbench.cli.execute import execute
from eigbench.cli.options import RunOptions, Seeds
from eigbench.runs.suite import find, load, override

NAMES = ("method", "function", "situation", "d", "dtype", "iterations")
GRID = Panel("Axes of the grid", itemgetter(*NAMES)(AXES))


@options_of(axes=GRID)
def singular(axes: dict[str, list[Any]], *, seeds: Seeds = None, options: RunOptions) -> None:
    """Measure gradients of functions of rectangular matrices: polar factors, low rank.

    Runs the shipped suite `singular`. An axis option replaces that axis: `--d 4 8 16`,
    `--d 4 --d 8` and `--d 4,8` mean the same.
    """
    execute(options.applied(override(load(find("singular")), axes), seeds), options)
