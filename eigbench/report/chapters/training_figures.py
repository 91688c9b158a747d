"""The pictures of trainings: survival, loss, and the gradient that leaves the layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import stats
from eigbench.report.chapters.trials import CLASSES, PLACE
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import label
from eigbench.report.numbers import NOTHING
from eigbench.report.plots import heat_map, legend_below, line, panels, save

MOST_LINES = 5
"""A panel has no more lines than this."""
SMOOTHING = 10
"""A curve is a running median over this part of its longest trial."""
ROOM = 1.5
"""A loss over so many times that of the first step runs off the top."""
IN_EPOCHS = {"figure-2": "Figure 2", "figure-4": "Figure 4"}
"""Suites that repeat a figure of the paper, whose horizontal axis counts epochs."""

Row = dict[str, Any]


def survival_map(frames: Frames, cells: pl.DataFrame) -> str:
    """Conditions down, methods across: the share of trials that finished; "" without methods.

    Of a long list of methods these go down.
    """
    own = cells.filter("decomposes").with_columns(
        share=100 * pl.col("finished") / pl.col("started"),
        text=pl.when(pl.col("started") > 0).then(pl.format("{} of {}", "finished", "started"))
        .when(pl.col("skipped") > 0).then(pl.lit("skipped")).otherwise(pl.lit(NOTHING)),
    )  # fmt: skip
    if own.is_empty():
        return ""
    down, across = "condition", "contestant"
    if own[across].n_unique() > max(2 * MOST_LINES, own[down].n_unique()):
        down, across = across, down
    order = [*reversed(PLACE)]
    own = own.sort(order, descending=[axis == "epsilon" for axis in order], maintain_order=True)
    shares, texts = (own.pivot(across, index=down, values=name) for name in ("share", "text"))
    rows, columns = shares[down].to_list(), shares.columns[1:]
    width = 0.8 + 0.065 * max(map(len, rows)) + max(0.75 * len(columns), 1.5)  # inches
    picture, (axes,) = panels(1, width=width, height=1.1 + 0.28 * len(rows))
    heat_map(axes, shares.drop(down).to_numpy(), rows, columns,
             texts.drop(down).fill_null(NOTHING).rows())  # fmt: skip
    axes.set(xlabel=label(across), ylabel=label(down))
    return save(picture, frames.folder, "survival")


def kaplan_meier(frames: Frames, trials: pl.DataFrame) -> str:
    """The share of trials that goes on, by step, of the cells that lost some; "" without any."""
    lost = pl.col("outcome") == "diverged"
    losing = trials.filter(pl.col("begun") > 0, lost.any().over("cell"))
    if losing.is_empty():
        return ""
    cells = losing.group_by("condition", "contestant", maintain_order=True).agg("begun", lost=lost)
    shown = [(str(condition), own[start : start + MOST_LINES].to_dicts())
             for (condition,), own in cells.group_by("condition", maintain_order=True)
             for start in range(0, len(own), MOST_LINES)]  # fmt: skip
    picture, axes = panels(len(shown), 3.3, 2.5, columns=4, same=True)
    for panel, (title, rows) in zip(axes, shown, strict=True):
        for cell in rows:
            curve = stats.survival(cell["begun"], cell["lost"])
            x = [0.0, *curve.steps]
            share, low, high = (
                100 * np.array([1.0, *end]) for end in (curve.share, curve.low, curve.high)
            )
            look = {**line(cell["contestant"]), "label": cell["contestant"]}
            panel.step(x, share, where="post", **look)
            panel.fill_between(x, low, high, step="post", alpha=0.1, linewidth=0,
                               color=look["color"])  # fmt: skip
        panel.set_title(title, fontsize=8.5)
        panel.set(xlabel="step", ylabel="trials that go on, %", ylim=(-3, 103))
        panel.label_outer()
    legend_below(picture, axes)
    return save(picture, frames.folder, "survival-by-step")


def curves(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame, name: str) -> Row | None:
    """The loss, or the norm of a gradient, by step; by epoch where a figure of the paper is.

    Returns the link and what its caption needs; None if there is no value to draw.
    """
    is_loss = name == "loss"
    length = frames.trials["epoch_steps"].max()
    paper = IN_EPOCHS.get(frames.run.suite.compare) if length else None
    longest = max(steps["id"].value_counts()["count"], default=0)
    window = max(1, round(longest / SMOOTHING))
    frame = steps.select(
        "id", x=(pl.col("row") + 1) / (length if paper else 1),
        y=pl.col(name).rolling_median(window, min_samples=1).over("id"),
        known=pl.col(name).is_not_null() if is_loss else pl.col(name) > 0,
    ).filter("known")  # fmt: skip
    if frame.is_empty():
        return None
    start = steps.filter(pl.col("row") == 0)[name].median()
    top = ROOM * start if is_loss and isinstance(start, float) and start > 0 else math.inf
    classes = CLASSES.get(values_of(cells, "data")[0]) if is_loss else None
    shown = _layout(cells.filter(pl.col("started") > 0))
    picture, axes = panels(len(shown), 3.3, 2.5, columns=4, same=True)
    for panel, (title, rows) in zip(axes, shown, strict=True):
        for cell in rows:
            look = {**line(cell["contestant"]), "label": cell["contestant"]}
            own = frame.filter(pl.col("id").is_in(cell["ids"]))
            middle = own.group_by("x").agg(pl.col("y").median()).sort("x")
            panel.plot(middle["x"], middle["y"], linewidth=1.3, **look)
            ends = (
                own.filter(pl.col("id").is_in(cell["lost"])).group_by("id").agg(pl.last("x", "y"))
            )
            for x, y in ends.select("x", "y").sort("x", "y").rows():
                panel.plot(x, min(y, top), "X", color=look["color"], markersize=8,
                           markeredgecolor="black", zorder=5, clip_on=False)  # fmt: skip
        if classes:
            panel.axhline(math.log(classes), color="0.6", linewidth=0.8, zorder=0)
        if math.isfinite(top):
            values = frame["y"].to_numpy()
            panel.set_ylim(0.95 * values.min(), 1.05 * min(values.max(), top))
        panel.set_title(title, fontsize=8.5)
        panel.set(
            xlabel="epoch" if paper else "step",
            xscale="linear" if paper else "log",
            ylabel="training loss, nats" if is_loss else "gradient norm",
            yscale="linear" if is_loss else "log",
        )
        panel.label_outer()
    legend_below(picture, axes)
    file = "training-loss" if is_loss else name.replace("_", "-")
    link = save(picture, frames.folder, frames.run.suite.compare if paper and is_loss else file)
    return {"link": link, "paper": paper, "window": window, "guess": bool(classes)}


def _layout(begun: pl.DataFrame) -> list[tuple[str, list[Row]]]:
    """The titles of the panels, and their cells: the methods of a condition; several of many.

    Batch normalisation of the same network stands in each.
    """
    common = begun.filter(~pl.col("decomposes")).to_dicts()
    found = []
    for (title,), own in begun.filter("decomposes").group_by("condition", maintain_order=True):
        beside = [one for one in common if one["model"] == own["model"][0]]
        size = MOST_LINES - len(beside)
        found += [(str(title), [*beside, *own[start : start + size].to_dicts()])
                  for start in range(0, len(own), size)]  # fmt: skip
    return found or [("", common)]
