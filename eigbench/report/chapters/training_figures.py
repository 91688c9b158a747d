"""The pictures of trainings: survival, loss, the gradient that leaves the layer, test error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import stats
from eigbench.report.chapters.trials import CLASSES, PLACE
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import label
from eigbench.report.numbers import NOTHING
from eigbench.report.plots import OKABE_ITO, heat_map, legend_below, line, panels, save, style

MOST_LINES = 5
"""A panel has no more lines than this."""
SMOOTHING = 10
"""A curve is a running mean, or median, over this part of its longest trial."""
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


def kaplan_meier(frames: Frames, seen: pl.DataFrame, losing: list[str]) -> str:
    """The share of trials that goes on, by step, for methods that lost some."""
    groups = _chunks(losing)
    picture, axes = panels(len(groups), 4.6, 3.2, same=True)
    for panel, names in zip(axes, groups, strict=True):
        for name in names:
            own = seen.filter(pl.col("contestant") == name)
            curve = stats.survival(own["begun"].to_list(), (own["outcome"] == "diverged").to_list())
            x = [0.0, *curve.steps]
            share, low, high = (
                100 * np.array([1.0, *end]) for end in (curve.share, curve.low, curve.high)
            )
            look = {**line(name), "label": name}
            panel.step(x, share, where="post", **look)
            panel.fill_between(x, low, high, step="post", alpha=0.1, linewidth=0,
                               color=look["color"])  # fmt: skip
        panel.set(xlabel="step", ylabel="trials that go on, %", ylim=(-3, 103))
    legend_below(picture, axes)
    return save(picture, frames.folder, "survival-by-step")


def curves(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame, name: str) -> Row | None:
    """The loss, or the norm of a gradient, by step; by epoch where a figure of the paper is.

    Returns the link and what its caption needs; None if there is no value to draw.
    """
    is_loss = name == "loss"
    length = frames.trials["epoch_steps"].max()
    paper = IN_EPOCHS.get(frames.run.suite.compare) if length else None
    longest = steps["row"].max()
    window = max(1, round((longest + 1) / SMOOTHING)) if isinstance(longest, int) else 1
    frame = steps.select(
        "id", name, x=(pl.col("row") + 1) / (length if paper else 1),
        y=pl.col(name).rolling_median(window, min_samples=1).over("id"),
    ).filter(pl.col(name).is_not_null() if is_loss else pl.col(name) > 0)  # fmt: skip
    if frame.is_empty():
        return None
    data = values_of(cells, "data")
    classes = CLASSES.get(data[0]) if is_loss and len(data) == 1 else None
    start = steps.filter(pl.col("row") == 0)[name].median()
    top = ROOM * start if is_loss and isinstance(start, float) and start > 0 else math.inf
    shown = _layout(cells)
    picture, axes = panels(len(shown), 3.3, 2.5, columns=4, same=True)
    for panel, (title, lines) in zip(axes, shown.items(), strict=True):
        for look, cell in lines:
            own = frame.filter(pl.col("id").is_in(cell["ids"]))
            middle = own.group_by("x").agg(pl.col("y").median()).sort("x")
            panel.plot(middle["x"], middle["y"], linewidth=1.3, **look)
            lost = own.filter(pl.col("id").is_in(cell["lost"])).group_by("id")
            for x, y in lost.agg(pl.last("x", "y")).select("x", "y").sort("x", "y").rows():
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
    file = frames.run.suite.compare if paper and is_loss else name.replace("_", "-")
    link = save(picture, frames.folder, "training-loss" if file == "loss" else file)
    return {"link": link, "paper": paper, "window": window, "guess": bool(classes)}


def _layout(cells: pl.DataFrame) -> dict[str, list[tuple[dict[str, Any], Row]]]:
    """Panels by title: the methods of a condition, if they are few; else the conditions of one.

    A line has its look and its cell. Batch normalisation of the same network stands in each.
    """
    begun = cells.filter(pl.col("started") > 0)
    own, common = begun.filter("decomposes"), begun.filter(~pl.col("decomposes")).to_dicts()
    few = 1 < own["contestant"].n_unique() <= MOST_LINES - len(common)
    beside = common if few else common[:1]
    conditions = values_of(own, "condition")
    found: dict[str, list[tuple[dict[str, Any], Row]]] = {}
    by = "condition" if few else "contestant"
    for (title,), rows in own.group_by(by, maintain_order=True):
        for number, group in enumerate(_chunks(rows.to_dicts(), MOST_LINES - len(beside))):
            lines = [(_look(one), one) for one in beside if one["model"] == group[0]["model"]]
            for one in group:
                shade = OKABE_ITO[conditions.index(one["condition"]) % len(OKABE_ITO)]
                varied = {"color": shade, "linestyle": "-", "label": one["condition"]}
                lines.append((_look(one) if few else varied, one))
            found[f"{title} ({number + 1})" if number else str(title)] = lines
    return found or {"": [(_look(one), one) for one in common]}


def _look(cell: Row) -> dict[str, Any]:
    return {**line(cell["contestant"]), "label": cell["contestant"]}


def _chunks(names: Sequence[Any], size: int = MOST_LINES) -> list[Sequence[Any]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def test_error(frames: Frames, cells: pl.DataFrame) -> str:
    """A point a finished trial, cells down; "" without test errors."""
    rows = cells.filter(pl.col("errors").list.len() > 0).to_dicts()
    if not rows:
        return ""
    picture, (axes,) = panels(1, width=5.5, height=0.9 + 0.19 * len(rows))
    for place, one in enumerate(rows):
        look = {**style(one["contestant"]), "linestyle": "none", "alpha": 0.7}
        axes.plot([100 * error for error in one["errors"]], [place] * len(one["errors"]), **look)
    axes.set_yticks(range(len(rows)), [one["cell"] for one in rows], fontsize=7.5)
    axes.set(xlabel="test error, %", ylabel="cell", ylim=(len(rows) - 0.4, -0.6))
    return save(picture, frames.folder, "test-error")
