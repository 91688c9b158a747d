"""Series by step, made ready to draw: panels, lines, blocks of steps, bands over trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from eigbench.report.plots import style
from eigbench.report.training.cells import Cell, Floats, trials_of
from eigbench.report.training.naming import PLACE, SHARED, condition, name, place, varied

POINTS = 150
"""A line has no more points than this; each stands for a block of steps."""


@dataclass(frozen=True)
class Line:
    """The trials of one cell in one panel, with how the line is called and looks."""

    cell: Cell
    label: str
    look: dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """Lines that are compared with each other."""

    title: str
    lines: list[Line]


def panels_of(cells: Sequence[Cell]) -> list[Panel]:
    """A panel for each place, with batch normalisation in each; or one if there is one method.

    With a single method its places are the lines instead: that is what the run compares.
    """
    axes = varied(cells)
    common = [cell for cell in cells if not cell.decomposes]
    own = [cell for cell in cells if cell.decomposes]
    single = len({cell.case.method for cell in own}) <= 1
    groups: dict[Any, list[Cell]] = {}
    for cell in own or common:
        groups.setdefault(cell.case.model if single else place(cell.case), []).append(cell)
    panels = []
    for group in groups.values():
        first = group[0].case
        shared = [cell for cell in common if cell.case.model == first.model and own]
        between = ("model",) if single else (*PLACE, *SHARED)
        title = condition(first, [axis for axis in axes if axis in between])
        inside = [axis for axis in axes if axis not in between]
        panels.append(Panel(title, _lines([*shared, *group], inside)))
    return panels


def _lines(cells: Sequence[Cell], axes: Sequence[str]) -> list[Line]:
    """Lines in the colours of their methods; shades where a method has several."""
    methods = [cell.case.method for cell in cells]
    several = [cell for cell in cells if methods.count(cell.case.method) > 1]
    shades = iter(plt.cm.cividis(np.linspace(0, 0.9, len(several))))
    lines = []
    for cell in cells:
        look = style(cell.case.method)
        if methods.count(cell.case.method) > 1:
            look = {**look, "color": next(shades)}
        lines.append(Line(cell, name(cell.case, axes), look))
    return lines


def block_size(cells: Sequence[Cell], metric: str) -> int:
    """How many steps make one point, the same for all lines of a figure."""
    longest = max((len(trial.values(metric)) for trial in trials_of(cells)), default=0)
    return max(1, -(-longest // POINTS))


def blocks(values: Floats, size: int) -> list[Floats]:
    """The series in blocks of so many steps; the last may be shorter."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def centres(count: int, size: int) -> Floats:
    """The middle step of each block, counted from 0."""
    return np.arange(count, dtype=np.float64) * size + np.float64((size - 1) / 2)


def by_block(cell: Cell, metric: str, size: int, summary: Callable[[Floats], float]) -> Floats:
    """A summary of each block's finite values: `(trials, blocks)`, NaN where there is none."""
    series = [
        [_finite_summary(block, summary) for block in blocks(trial.values(metric), size)]
        for trial in cell.trials
    ]
    longest = max(map(len, series), default=0)
    padded = [[*row, *[np.nan] * (longest - len(row))] for row in series]
    return np.array(padded, dtype=np.float64).reshape(len(series), longest)


def _finite_summary(values: Floats, summary: Callable[[Floats], float]) -> float:
    kept = values[np.isfinite(values)]
    return float(summary(kept)) if len(kept) else float("nan")


def over_trials(values: Floats, summary: Callable[..., Any]) -> Floats:
    """A summary such as `np.nanmedian` over the trials that have a value; NaN where none has."""
    with warnings.catch_warnings():
        # NumPy warns of columns that are all NaN; NaN is what they are to be.
        warnings.simplefilter("ignore", RuntimeWarning)
        result: Floats = summary(values, axis=0)
    return result
