"""The pictures of trainings by step and by epoch: loss, gradient through the layer, validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eigbench.report.markdown import figure
from eigbench.report.plots import legend_below, panels, save
from eigbench.report.training import sweeps
from eigbench.report.training.cells import Cell, Floats, Trial, trials_of
from eigbench.report.training.curves import (
    Line,
    Panel,
    block_size,
    by_block,
    centres,
    over_trials,
    panels_of,
)

IN_EPOCHS = {
    "figure-2": "Figure 2 of the paper, measured: training loss by epoch, power iteration and the "
    "hybrid.",
    "figure-4": "Figure 4 of the paper, measured: training loss by epoch, with PCA denoising.",
}
"""Suites that repeat a figure of the paper, whose horizontal axis counts epochs."""


def sections(compare: str, cells: Sequence[Cell], folder: Path) -> list[str]:
    """Every figure that the cells have data for."""
    measured = [cell for cell in cells if cell.trials]
    shown = panels_of(measured)
    if compare == "figure-2":
        shown = sorted(shown, key=lambda panel: -(panel.lines[-1].cell.case.d or 0))
    parts = [
        *_loss(compare, measured, shown, folder),
        *sweeps.test_error(measured, folder),
        *_gradient(measured, shown, folder),
        *sweeps.step_time(measured, folder),
        *_validation(measured, shown, folder),
    ]
    return ["## Figures", *parts] if parts else []


def _loss(compare: str, cells: Sequence[Cell], shown: Sequence[Panel], folder: Path) -> list[str]:
    """Training loss by step, or by epoch where the paper's figure is repeated."""
    if not _any_finite(cells, "loss"):
        return []
    size = block_size(cells, "loss")
    steps = _epoch_steps(cells) if compare in IN_EPOCHS else None
    picture, axes = panels(len(shown))
    for panel, drawn in zip(axes, shown, strict=True):
        for line in drawn.lines:
            _loss_line(panel, line, size, steps)
        panel.set_title(drawn.title, fontsize=9)
        panel.set_xlabel("epoch" if steps else "step")
        panel.set_ylabel("training loss (cross-entropy, nats)")
        panel.set_ylim(*_loss_limits(drawn, size))
    legend_below(picture, axes)
    link = save(picture, folder, compare if compare in IN_EPOCHS else "training-loss")
    what = IN_EPOCHS.get(compare, "Training loss by step.")
    smoothing = f" Each point is the mean of {size} steps." if size > 1 else " Nothing is smoothed."
    caption = (
        f"{what} Lines are medians over trials, bands reach from the least to the largest trial, "
        f"a cross is where a trial diverged.{smoothing}"
    )
    return [figure(link, caption)]


def _loss_line(panel: Any, line: Line, size: int, steps: float | None) -> None:
    values = by_block(line.cell, "loss", size, np.mean)
    places = (centres(values.shape[1], size) + 1) / (steps or 1) - (0 if steps else 1)
    _band(panel, line, places, values, over_trials(values, np.nanmedian))
    for trial, row in zip(line.cell.trials, values, strict=True):
        known = np.flatnonzero(np.isfinite(row))
        if trial.outcome == "diverged" and len(known):
            panel.plot(places[known[-1]], row[known[-1]], "X", color=line.look["color"],
                       markersize=11, markeredgecolor="black", zorder=5)  # fmt: skip


def _band(panel: Any, line: Line, places: Floats, values: Floats, middles: Floats) -> None:
    if not np.isfinite(middles).any():
        return
    low, high = over_trials(values, np.nanmin), over_trials(values, np.nanmax)
    colour = line.look["color"]
    panel.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    # Each line has its markers elsewhere, so that lines that lie on each other can be told apart.
    every = max(1, len(places) // 6)
    first = len(panel.lines) * max(1, every // 6) % every
    panel.plot(places, middles, label=line.label, linewidth=1.3, markevery=(first, every),
               **line.look)  # fmt: skip


def _loss_limits(drawn: Panel, size: int) -> tuple[float, float]:
    """Room for every line up to three times where it starts; what is beyond runs off the top."""
    values = [by_block(line.cell, "loss", size, np.mean) for line in drawn.lines]
    known = np.concatenate([v[np.isfinite(v)] for v in values])
    firsts = [v[:, 0][np.isfinite(v[:, 0])] for v in values if v.shape[1]]
    starts = np.concatenate([*firsts, known[:1]])
    if not len(known):
        return 0.0, 1.0
    top = min(float(known.max()), 3 * max(float(np.median(starts)), 1e-6))
    bottom = float(known.min())
    room = 0.05 * max(top - bottom, 1e-6)
    return bottom - room, top + room


def _gradient(cells: Sequence[Cell], shown: Sequence[Panel], folder: Path) -> list[str]:
    """Norm of the gradient that leaves the layer, by step."""
    metric = "layer_gradient_norm"
    if not _any_finite(cells, metric, above=0.0):
        return []
    size = block_size(cells, metric)
    picture, axes = panels(len(shown))
    for panel, drawn in zip(axes, shown, strict=True):
        for line in drawn.lines:
            middles = by_block(line.cell, metric, size, np.median)
            ends = np.concatenate([by_block(line.cell, metric, size, end)
                                   for end in (np.min, np.max)])  # fmt: skip
            positive = np.where(ends > 0, ends, np.nan)
            middle = over_trials(np.where(middles > 0, middles, np.nan), np.nanmedian)
            _band(panel, line, centres(middles.shape[1], size), positive, middle)
        panel.set_yscale("log")
        panel.set_title(drawn.title, fontsize=9)
        panel.set_xlabel("step")
        panel.set_ylabel("gradient norm (loss per unit)")
    legend_below(picture, axes)
    blocks = f" Each point stands for {size} steps." if size > 1 else ""
    caption = (
        "Norm of the gradient that leaves the layer towards the first convolution: median over "
        f"trials, and a band that reaches to the largest and the least.{blocks} What is not "
        "finite is not drawn."
    )
    return [figure(save(picture, folder, "layer-gradient-norm"), caption)]


def _validation(cells: Sequence[Cell], shown: Sequence[Panel], folder: Path) -> list[str]:
    """Validation error by epoch, where there are two or more."""
    lengths = [len(trial.values("validation_error")) for trial in trials_of(cells)]
    if max(lengths, default=0) < 2 or not _any_finite(cells, "validation_error"):
        return []
    picture, axes = panels(len(shown))
    for panel, drawn in zip(axes, shown, strict=True):
        for line in drawn.lines:
            values = 100 * by_block(line.cell, "validation_error", 1, np.mean)
            epochs = np.arange(1, values.shape[1] + 1, dtype=np.float64)
            _band(panel, line, epochs, values, over_trials(values, np.nanmedian))
        panel.set_title(drawn.title, fontsize=9)
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_ylabel("validation error, %")
    legend_below(picture, axes)
    link = save(picture, folder, "validation-error")
    caption = "Validation error by epoch: median over trials, and the least to the largest."
    return [figure(link, caption)]


def _any_finite(cells: Sequence[Cell], metric: str, above: float = -np.inf) -> bool:
    return any(
        bool((np.isfinite(values) & (values > above)).any())
        for values in (trial.values(metric) for trial in trials_of(cells))
    )


def _epoch_steps(cells: Sequence[Cell]) -> float | None:
    """Steps of an epoch, by the first trial that tells; None if none does."""
    return next((steps for steps in map(_of_trial, trials_of(cells)) if steps), None)


def _of_trial(trial: Trial) -> float | None:
    taken, planned = trial.values("epoch_steps"), trial.values("steps_planned")
    if len(taken) and taken[0] > 0:
        return float(taken[0])
    if len(planned) and planned[0] > 0 and trial.case.steps is None:
        return float(planned[0]) / trial.case.epochs
    return None
