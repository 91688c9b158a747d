"""The pictures of trainings: survival, loss, test error, the gradient that leaves the layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import stats
from eigbench.report.chapters.trials import CLASSES, PLACE, chance, chunks
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import NOTHING
from eigbench.report.plots import OKABE_ITO, heat_map, legend_below, line, panels, save, style
from eigbench.report.render import figure, render, table

MOST_LINES = 5
"""A panel has no more lines than this."""
SMOOTHING = 10
"""A curve is a running mean, or median, over this part of its longest trial."""
IN_EPOCHS = {"figure-2": "Figure 2", "figure-4": "Figure 4"}
"""Suites that repeat a figure of the paper, whose horizontal axis counts epochs."""


def words(picture: str, part: str, **facts: Any) -> str:
    """The alternative text or the caption of a picture."""
    return render("training-captions", picture=picture, part=part, **facts)


def survival_map(frames: Frames, cells: pl.DataFrame) -> str:
    """Conditions down, methods across: the share of trials that finished; "" without methods.

    Of a long list of methods these go down.
    """
    own = cells.filter("decomposes")
    if own.is_empty():
        return ""
    own = own.sort([*reversed(PLACE)], maintain_order=True,
                   descending=[axis == "epsilon" for axis in reversed(PLACE)])  # fmt: skip
    down, across = "condition", "contestant"
    if own[across].n_unique() > max(2 * MOST_LINES, own[down].n_unique()):
        down, across = across, down
    names = {"condition": values_of(own, "condition"),
             "contestant": values_of(cells.filter("decomposes"), "contestant")}  # fmt: skip
    rows, columns = names[down], names[across]
    shares = np.full((len(rows), len(columns)), np.nan)
    texts = [[NOTHING] * len(columns) for _ in rows]
    for cell in own.to_dicts():
        i, j = rows.index(cell[down]), columns.index(cell[across])
        if cell["started"]:
            shares[i, j] = 100 * cell["finished"] / cell["started"]
            texts[i][j] = f"{cell['finished']} of {cell['started']}"
        elif cell["skipped"]:
            texts[i][j] = "skipped"
    width = 0.8 + 0.065 * max(map(len, rows)) + max(0.75 * len(columns), 1.5)  # inches
    picture, (axes,) = panels(1, width=width, height=1.1 + 0.28 * len(rows))
    heat_map(axes, shares, rows, columns, texts)
    named = {"condition": "condition", "contestant": "method"}
    axes.set(xlabel=named[across], ylabel=named[down])
    link = save(picture, frames.folder, "survival")
    return figure(link, words("survival", "alt"), words("survival", "caption"))


def kaplan_meier(frames: Frames, trials: pl.DataFrame) -> str:
    """The share of trials that goes on, by step, and the trials at risk; "" if all finished."""
    seen = trials.filter(pl.col("begun") > 0)
    losing = values_of(seen.filter(pl.col("outcome") == "diverged"), "contestant")
    if not losing:
        return ""
    groups = chunks(losing, MOST_LINES)
    picture, axes = panels(len(groups), 4.6, 3.2, same=True)
    for panel, names in zip(axes, groups, strict=True):
        for name in names:
            own = seen.filter(pl.col("contestant") == name)
            curve = stats.survival(
                own["begun"].cast(pl.Int64).to_list(), (own["outcome"] == "diverged").to_list()
            )
            x = np.array([0.0, *curve.steps])
            low, high = (np.array([1.0, *end]) for end in (curve.low, curve.high))
            look = {**line(name), "label": name}
            panel.step(x, 100 * np.array([1.0, *curve.share]), where="post", **look)
            panel.fill_between(x, 100 * low, 100 * high, step="post", alpha=0.1, linewidth=0,
                               color=look["color"])  # fmt: skip
        panel.set(xlabel="step", ylabel="trials that go on, %", ylim=(-3, 103))
    legend_below(picture, axes)
    link = save(picture, frames.folder, "survival-by-step")
    last = int(seen["begun"].max())  # type: ignore[arg-type]
    at = sorted({1, *(max(1, round(last * part / 4)) for part in (1, 2, 3, 4))})
    begun = {name: seen.filter(pl.col("contestant") == name)["begun"] for name in losing}
    rows = [[name, *(f"{(steps >= step).sum()}" for step in at)] for name, steps in begun.items()]
    risk = table(["trials at risk in step", *map(str, at)], rows)
    shown = figure(link, words("by-step", "alt"), words("by-step", "caption"))
    return f"{shown}\n\n{risk}"


@dataclass(frozen=True)
class Line:
    """One cell in a panel: how it is called, and how it looks."""

    label: str
    look: dict[str, Any]
    cell: dict[str, Any]


def layout(cells: pl.DataFrame) -> dict[str, list[Line]]:
    """Panels by title: the methods of a condition, if they are few; else the conditions of one.

    Batch normalisation of the same network stands in each.
    """
    begun = cells.filter(pl.col("started") > 0)
    own = begun.filter("decomposes")
    common = begun.filter(~pl.col("decomposes")).to_dicts()
    methods = values_of(own, "contestant")
    few = 1 < len(methods) <= MOST_LINES - len({cell["contestant"] for cell in common})
    by = "condition" if few else "contestant"
    shades = {condition: {"color": OKABE_ITO[i % len(OKABE_ITO)], "linestyle": "-"}
              for i, condition in enumerate(values_of(own, "condition"))}  # fmt: skip
    found: dict[str, list[Line]] = {}
    for (title,), rows in own.group_by(by, maintain_order=True):
        beside = [one for one in common if one["model"] in rows["model"].to_list()]
        beside = beside[: 1 if not few else None]
        groups = chunks(rows.to_dicts(), MOST_LINES - len(beside))
        for number, group in enumerate(groups):
            several = f" ({number + 1})" if len(groups) > 1 else ""
            found[f"{title}{several}"] = [
                *(Line(one["contestant"], line(one["contestant"]), one) for one in beside),
                *(Line(one["contestant"], line(one["contestant"]), one) if few
                  else Line(one["condition"], shades[one["condition"]], one) for one in group),
            ]  # fmt: skip
    if not found and common:
        found[""] = [Line(one["contestant"], line(one["contestant"]), one) for one in common]
    return found


def _curves(
    frames: Frames, cells: pl.DataFrame, draw: Callable[[Any, Line], None], labels: Sequence[str],
    name: str, **look: Any,
) -> str:  # fmt: skip
    """A panel for each group of `layout`; returns the link."""
    shown = layout(cells)
    picture, axes = panels(len(shown), 3.3, 2.5, columns=4, same=True)
    for panel, (title, lines) in zip(axes, shown.items(), strict=True):
        for one in lines:
            draw(panel, one)
        panel.set_title(title, fontsize=8.5)
        panel.set(**look)
        panel.set_xlabel(labels[0], fontsize=8.5)
        panel.set_ylabel(labels[1], fontsize=8.5)
        panel.label_outer()
    legend_below(picture, axes)
    return save(picture, frames.folder, name)


def _of(frame: pl.DataFrame, cell: dict[str, Any]) -> pl.DataFrame:
    return frame.filter(
        (pl.col("contestant") == cell["contestant"]) & (pl.col("condition") == cell["condition"])
    )


def training_loss(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame) -> str:
    """Training loss by step, or by epoch where the paper's figure is repeated; "" of none."""
    if steps.is_empty() or not steps["loss"].count():
        return ""
    window = _window(steps)
    smooth = pl.col("loss").rolling_mean(window, min_samples=1).over("id")
    paper = IN_EPOCHS.get(frames.run.suite.compare)
    length = _epoch_steps(steps) if paper else 1.0
    frame = steps.filter("recorded").with_columns(y=smooth, x=(pl.col("row") + 1) / length)
    guess = _chance_loss(cells)

    def draw(panel: Any, one: Line) -> None:
        own = _of(frame, one.cell).filter(pl.col("loss").is_not_null())
        middle = own.group_by("x").agg(pl.col("y").median()).sort("x")
        panel.plot(middle["x"], middle["y"], label=one.label, linewidth=1.3, **one.look)
        ends = own.filter(pl.col("outcome") == "diverged").group_by("id", maintain_order=True)
        for end in ends.agg(pl.last("x", "y")).iter_rows(named=True):
            panel.plot(end["x"], end["y"], "X", color=one.look["color"], markersize=8,
                       markeredgecolor="black", zorder=5)  # fmt: skip
        if guess is not None:
            panel.axhline(guess, color="0.6", linewidth=0.8, zorder=0)

    x = "epoch" if paper else "step"
    look = {"ylim": _limits(frame), **({} if paper else {"xscale": "log"})}
    name = frames.run.suite.compare if paper else "training-loss"
    link = _curves(frames, cells, draw, (x, "training loss, nats"), name, **look)
    facts = {"paper": paper, "window": window, "chance": guess is not None, "x": x}
    return figure(link, words("loss", "alt", **facts), words("loss", "caption", **facts))


def layer_gradient(frames: Frames, steps: pl.DataFrame, cells: pl.DataFrame) -> str:
    """The norm of the gradient that leaves the layer, by step; "" if there is none above 0."""
    norm = pl.col("layer_gradient_norm")
    if steps.is_empty() or steps.filter(norm > 0).is_empty():
        return ""
    window = _window(steps)
    smooth = norm.rolling_median(window, min_samples=1).over("id")
    frame = steps.filter("recorded").with_columns(y=smooth, x=pl.col("row") + 1)

    def draw(panel: Any, one: Line) -> None:
        own = _of(frame, one.cell).filter(norm > 0)
        middle = own.group_by("x").agg(pl.col("y").median()).sort("x")
        panel.plot(middle["x"], middle["y"], label=one.label, linewidth=1.3, **one.look)

    link = _curves(frames, cells, draw, ("step", "gradient norm"), "layer-gradient-norm",
                   xscale="log", yscale="log")  # fmt: skip
    caption = words("layer", "caption", window=window)
    return figure(link, words("layer", "alt"), caption)


def test_error(frames: Frames, cells: pl.DataFrame) -> str:
    """A point a finished trial: methods down, a panel a condition; "" without test errors."""
    known = cells.filter(pl.col("errors").list.len() > 0)
    if known.is_empty():
        return ""
    single = known.filter("decomposes")["contestant"].n_unique() < 2
    by, down = ("layer", "condition") if single else ("condition", "contestant")
    own = known.filter("decomposes")
    common = known.filter(~pl.col("decomposes")).to_dicts()
    groups = {title: rows.to_dicts() for (title,), rows in own.group_by(by, maintain_order=True)}
    groups = groups or {"": []}
    for rows in groups.values():
        rows[:0] = [one for one in common if not rows or one["model"] == rows[0]["model"]]
    most = max(map(len, groups.values()))
    picture, axes = panels(len(groups), 3.1, 0.9 + 0.19 * most, columns=4)
    guess = chance(values_of(known, "data")[0]) if known["data"].n_unique() == 1 else None
    errors = [100 * error for row in known["errors"].to_list() for error in row]
    ends = min(errors) - 1, max(errors) + 1
    for panel, (title, rows) in zip(axes, groups.items(), strict=True):
        for place, one in enumerate(rows):
            look = {**style(one["contestant"]), "linestyle": "none"}
            panel.plot([100 * error for error in one["errors"]], [place] * len(one["errors"]),
                       alpha=0.7, **look)  # fmt: skip
        if guess is not None and ends[0] <= 100 * guess <= ends[1] + 3:
            panel.axvline(100 * guess, color="0.6", linewidth=0.8, zorder=0)
        names = [one[down] if one["decomposes"] else one["contestant"] for one in rows]
        panel.set_yticks(range(len(rows)), names, fontsize=7.5)
        panel.set(ylim=(len(rows) - 0.4, -0.6), xlim=(ends[0], max(ends[1], _right(guess, ends))))
        panel.set_title(title if len(groups) > 1 else "", fontsize=8.5)
        panel.set_xlabel("test error, %", fontsize=8.5)
        panel.set_ylabel("condition" if single else "method", fontsize=8.5)
    link = save(picture, frames.folder, "test-error")
    return figure(link, words("error", "alt"), words("error", "caption", chance=guess is not None))


def _right(guess: float | None, ends: tuple[float, float]) -> float:
    """The error axis reaches to guessing where that is near."""
    return 100 * guess + 1 if guess is not None and 100 * guess <= ends[1] + 3 else ends[1]


def _window(steps: pl.DataFrame) -> int:
    longest = int(steps["row"].max()) + 1  # type: ignore[arg-type]
    return max(1, round(longest / SMOOTHING))


def _epoch_steps(steps: pl.DataFrame) -> float:
    """Steps of an epoch, as the trials say; 1 if none does."""
    first = steps.filter((pl.col("row") == 0) & (pl.col("steps_planned") > 0))
    known = [row["epoch_steps"] or (None if row["steps"] else row["steps_planned"] / row["epochs"])
             for row in first.iter_rows(named=True)]  # fmt: skip
    return next((float(value) for value in known if value), 1.0)


def _chance_loss(cells: pl.DataFrame) -> float | None:
    names = values_of(cells, "data")
    return math.log(CLASSES[names[0]]) if len(names) == 1 and names[0] in CLASSES else None


def _limits(frame: pl.DataFrame) -> tuple[float, float]:
    """Room for every curve up to three times where they start; what is beyond runs off the top."""
    known = frame["y"].drop_nulls()
    start = frame.filter(pl.col("row") == 0)["loss"].median()
    top, bottom = float(known.max()), float(known.min())  # type: ignore[arg-type]
    if isinstance(start, float) and start > 0:
        top = min(top, 3 * start)
    room = 0.05 * max(top - bottom, 1e-6)
    return bottom - room, top + room
