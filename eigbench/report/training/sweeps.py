"""The pictures of trainings by cell: test error along a swept axis, and what a step takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eigbench.report.markdown import axis_value, figure, percent
from eigbench.report.plots import legend_below, panels, save, style
from eigbench.report.training.cells import Cell, finite
from eigbench.report.training.naming import (
    PLACE,
    SHARED,
    SWEPT,
    condition,
    name,
    values_of,
    varied,
)
from eigbench.report.training.tables import step

TITLES = {
    "d": "d, channels of a group",
    "components": "e, eigenvectors kept",
    "energy": "share of the variance kept",
    "iterations": "K, iterations",
}
SPREAD = 0.25
"""How far apart the methods of one place are drawn, of the distance between places."""


def test_error(cells: Sequence[Cell], folder: Path) -> list[str]:
    """Test error along the axis that was swept, or by method: a point a trial."""
    known = [cell for cell in cells if len(finite(cell.errors))]
    if not known:
        return []
    axis = next((axis for axis in SWEPT if axis in varied(known)), None)
    shown = _panels(known, axis)
    picture, axes = panels(len(shown), width=4.6 if len(shown) > 1 else 5.6)
    for panel, (title, own) in zip(axes, shown.items(), strict=True):
        if axis is None:
            _by_method(panel, own)
        else:
            _along(panel, own, axis, values_of(known, axis))
        panel.set_title(title, fontsize=9)
        panel.set_ylabel("test error, %")
    if axis is not None:
        legend_below(picture, axes)
    link = save(picture, folder, "test-error")
    by = TITLES[axis] if axis else "method"
    return [figure(link, f"Test error by {by}: a point a finished trial, lines through the means; "
                         "a dotted line and its band are a layer without that axis.")]  # fmt: skip


def _panels(cells: Sequence[Cell], axis: str | None) -> dict[str, list[Cell]]:
    """The cells by what varies besides the axis, the method and its K, with a title each.

    A layer that is not swept stands in every panel of its network.
    """
    everywhere = [c for c in cells if not c.decomposes or (axis in PLACE and _lacks(c, axis))]
    placed = [cell for cell in cells if cell not in everywhere] or everywhere
    titled = [other for other in varied(placed) if other in (*PLACE, *SHARED) and other != axis]
    found: dict[str, list[Cell]] = {}
    for cell in placed:
        found.setdefault(condition(cell.case, titled), []).append(cell)
    for own in found.values():
        common = [c for c in everywhere if c.case.model == own[0].case.model and c not in own]
        own[:0] = common
    return found


def _lacks(cell: Cell, axis: str | None) -> bool:
    return axis is not None and getattr(cell.case, axis) is None


def _along(panel: Any, cells: Sequence[Cell], axis: str, values: Sequence[Any]) -> None:
    """Lines along an axis; its values, the same in every panel, stand at equal distances."""
    rest = [other for other in varied(cells) if other != axis]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(name(cell.case, rest), []).append(cell)
    for label, own in groups.items():
        for cell in own:
            if getattr(cell.case, axis) is None:
                _level(panel, cell, label, style(cell.case.method))
    placed = {label: [cell for cell in own if getattr(cell.case, axis) is not None]
              for label, own in groups.items()}  # fmt: skip
    placed = {label: own for label, own in placed.items() if own}
    offsets = np.linspace(-SPREAD, SPREAD, len(placed)) if len(placed) > 1 else np.zeros(1)
    for offset, (label, own) in zip(offsets, placed.items(), strict=False):
        look = style(own[0].case.method)
        own.sort(key=lambda cell: values.index(getattr(cell.case, axis)))
        places = [values.index(getattr(cell.case, axis)) + offset for cell in own]
        _points(panel, own, places, look)
        means = [100 * float(finite(cell.errors).mean()) for cell in own]
        panel.plot(places, means, linewidth=1.3, **{**look, "marker": "none"})
        panel.plot([], [], label=label, **look)
    names = [percent(value) if axis == "energy" else axis_value(value) for value in values]
    panel.set_xticks(range(len(values)), names)
    panel.set_xlim(-0.6, len(values) - 0.4)
    panel.set_xlabel(TITLES[axis])


def _level(panel: Any, cell: Cell, label: str, look: dict[str, Any]) -> None:
    """A cell that has no place on the axis: its mean as a line across."""
    errors = 100 * finite(cell.errors)
    panel.axhline(errors.mean(), color=look["color"], linestyle=":", linewidth=1.5, label=label)
    panel.axhspan(errors.min(), errors.max(), color=look["color"], alpha=0.1, linewidth=0)


def _by_method(panel: Any, cells: Sequence[Cell]) -> None:
    axes = varied(cells)
    for place, cell in enumerate(cells):
        look = style(cell.case.method)
        _points(panel, [cell], [place], look)
        mean = 100 * float(finite(cell.errors).mean())
        panel.plot([place - 0.25, place + 0.25], [mean, mean], color=look["color"])
    panel.set_xticks(range(len(cells)), [name(cell.case, axes) for cell in cells], rotation=20)
    panel.set_xlim(-0.6, len(cells) - 0.4)
    panel.set_xlabel("method")


def _points(
    panel: Any, cells: Sequence[Cell], places: Sequence[float], look: dict[str, Any]
) -> None:
    for cell, place in zip(cells, places, strict=True):
        errors = 100 * finite(cell.errors)
        panel.plot([place] * len(errors), errors, **{**look, "linestyle": "none"}, alpha=0.7)


def step_time(cells: Sequence[Cell], folder: Path) -> list[str]:
    """The median step of every trial, a row a cell, batch normalisation as a line."""
    timed = [cell for cell in cells if len(cell.step_seconds)]
    if not timed:
        return []
    axes = varied(timed)
    picture, (panel,) = panels(1, width=7.0, height=1.3 + 0.27 * len(timed))
    for row, cell in enumerate(timed):
        look = style(cell.case.method)
        times = 1000 * cell.step_seconds
        panel.plot([times.min(), times.max()], [row, row], color=look["color"], linewidth=2)
        panel.plot(times, [row] * len(times), **{**look, "linestyle": "none"}, alpha=0.7)
        panel.plot([1000 * step(cell)], [row], "|", color="black", markersize=12)
    standard = [cell for cell in timed if cell.case.layer == "bn"]
    for cell in standard:
        panel.axvline(1000 * step(cell), color=style("bn")["color"], linestyle=":", zorder=0)
    panel.set_yticks(range(len(timed)), [name(cell.case, axes) for cell in timed], fontsize=8)
    panel.set_ylim(len(timed) - 0.4, -0.6)
    panel.set_xlim(left=0)
    panel.set_xlabel("time of a training step, ms")
    panel.set_ylabel("cell")
    across = " The dotted line is batch normalisation." if standard else ""
    link = save(picture, folder, "step-time")
    return [figure(link, "Time of a training step: a point is the median step of a trial, the "
                         f"stroke the median of the trials.{across}")]  # fmt: skip
