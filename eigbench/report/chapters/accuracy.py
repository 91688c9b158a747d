"""How right the gradients are: by situation, threshold and loss; as a gap closes; by ε."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import situations
from eigbench.report.frame import POINT, Frames, metric, values_of
from eigbench.report.judgement import judged
from eigbench.report.names import word
from eigbench.report.numbers import NOTHING, axis_value, cosine, percent, scientific
from eigbench.report.plots import (
    SMALL_SET,
    gap_axis,
    heat_map,
    legend_below,
    panels,
    profile,
    save,
    style,
)
from eigbench.report.render import Chapter, details, figure, pivot, render, table
from eigbench.spectra import SPECTRA, draw

CEILING = 1e3
"""Where errors that are not finite, or larger, are drawn."""
LEAST_ERROR = 1e-8
"""The lower end of the error axis, below the rounding of float32."""
USUAL_D = 16


def chapters(
    frames: Frames, frame: pl.DataFrame, shown: Sequence[str], dtype: str
) -> list[Chapter | None]:
    """Every chapter that the rows have data for; `shown` are the contestants of the opening."""
    table_of = judged(frame)
    several = values_of(frame, "contestant")
    few = several if len(several) <= SMALL_SET else shown
    everyone = judged(frames.stability)
    return [
        _definitions(frame),
        _by_situation(frames, table_of, dtype),
        _truncated(everyone, dtype),
        _variants(frames.stability, dtype),
        _classes(frame, few, dtype),
        _distributions(frames, frame, dtype),
        _closing(frames, frame, shown),
        _by_epsilon(frames.usual.filter(pl.col("contestant").is_in(few))),
        _by_precision(table_of.filter(pl.col("contestant").is_in(few))),
        _spectra(frames),
    ]


def _definitions(frame: pl.DataFrame) -> Chapter:
    """What the situations are, and how many matrices of each spectrum belong to them."""
    inside = frame.filter(pl.col("situation").is_not_null())
    counts = inside.unique(["situation", "spectrum", "d", "gap", "scale", "dtype", "epsilon",
                            "matrix"], keep="first", maintain_order=True)  # fmt: skip
    body = []
    for name in situations.present(inside):
        own = counts.filter(pl.col("situation") == name)
        spectra = ", ".join(
            f"{spectrum} ({len(rows)})"
            for (spectrum,), rows in own.group_by("spectrum", maintain_order=True)
        )
        gaps = metric(own, "smallest_relative_gap")
        low, high = own.select(gaps.min().alias("low"), gaps.max().alias("high")).row(0)
        body.append([
            name, situations.says(name), spectra, ", ".join(map(str, values_of(own, "d"))),
            f"{scientific(low)} to {scientific(high)}" if low is not None else NOTHING,
        ])  # fmt: skip
    headers = ["situation", "what it is", "spectra (matrices, all precisions)", "d",
               "smallest relative gap"]  # fmt: skip
    return Chapter(
        "How to read this report",
        render("accuracy-definitions", table=table(headers, body), usual=situations.EPSILON),
    )


def _by_situation(frames: Frames, rows: pl.DataFrame, dtype: str) -> Chapter | None:
    """A heat map a loss: method × situation, share within 1 %, share not finite."""
    rows = rows.filter(pl.col("dtype") == dtype)
    losses = values_of(rows, "loss")
    if not losses:
        return None
    several = len(values_of(rows, "contestant"))
    picture, axes = panels(len(losses), 5.2, 1.4 + 0.24 * several, columns=2)
    for panel, loss in zip(axes, losses, strict=True):
        own = rows.filter(pl.col("loss") == loss)
        methods, present = values_of(own, "contestant"), situations.present(own)
        found = {(row["contestant"], row["situation"]): row for row in own.to_dicts()}
        values = np.array(
            [[100 * found[m, s]["right"] if (m, s) in found else np.nan for s in present]
             for m in methods]
        )  # fmt: skip
        texts = [[_heat_text(found.get((m, s))) for s in present] for m in methods]
        image = heat_map(panel, values, methods, [_narrow(name) for name in present], texts)
        panel.set_title(loss, fontsize=9)
    picture.colorbar(image, ax=axes, shrink=0.5, label="within 1 %, % of matrices")
    link = save(picture, frames.folder, "right-by-situation")
    alt = f"Share within 1 % by method and situation, {dtype}"
    caption = "Numbers are per cent of the matrices; NaN: per cent that are not finite."
    tables = [details(loss, _every_share(rows.filter(pl.col("loss") == loss))) for loss in losses]
    body = render("accuracy-every", figure=figure(link, alt, caption), tables=tables)
    return Chapter("Every method in every situation", body)


def _every_share(rows: pl.DataFrame) -> str:
    """All of `judged` for one loss and precision: methods down, situations across."""
    present = situations.present(rows)
    found = {(row["contestant"], row["situation"]): row for row in rows.to_dicts()}
    body = [
        [f"`{name}`", *(_every_cell(found.get((name, situation))) for situation in present)]
        for name in values_of(rows, "contestant")
    ]
    counts = {row["situation"]: row["n"] for row in rows.to_dicts()}
    return table(["method", *(f"{name} ({counts[name]})" for name in present)], body)


def _every_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    shares = (percent(row[name]).removesuffix(" %") for name in ("right", "sound", "same_size"))
    direction = NOTHING if row["cosine"] is None else cosine(row["cosine"])
    return f"{'/'.join(shares)} %, {scientific(row['error'])}, {direction}"


def _narrow(name: str) -> str:
    return name.replace(" ", "\n")


def _heat_text(row: dict[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    lost = "" if row["finite"] == 1 else f"\nNaN {percent(1 - row['finite']).removesuffix(' %')}"
    return percent(row["right"]).removesuffix(" %") + lost


def share_cell(row: dict[str, Any] | None) -> str:
    """A row of `judged`: right, not finite where some are, median error, median cosine."""
    if row is None:
        return NOTHING
    lost = "" if row["finite"] == 1 else f" (NaN {percent(1 - row['finite'])})"
    direction = NOTHING if row["cosine"] is None else cosine(row["cosine"])
    return f"**{percent(row['right'])}**{lost}, {scientific(row['error'])}, {direction}"


def _share_table(rows: pl.DataFrame, contestants: Sequence[str]) -> str:
    """Situations down, contestants across: right, not finite, median error, cosine."""
    body = []
    for name in situations.present(rows):
        own = {r["contestant"]: r for r in rows.filter(pl.col("situation") == name).to_dicts()}
        cells = (share_cell(own.get(contestant)) for contestant in contestants)
        counts = sorted({row["n"] for row in own.values()})
        body.append([f"{name} ({'–'.join(map(str, counts))})", *cells])
    return table(["situation (matrices)", *(f"`{name}`" for name in contestants)], body)


def _truncated(rows: pl.DataFrame, dtype: str) -> Chapter | None:
    """Whitening by the pairs that Algorithm 1 keeps, beside whitening by all."""
    own = rows.filter((pl.col("loss") == "whitening-truncated") & (pl.col("dtype") == dtype))
    contestants = values_of(own, "contestant")
    if not contestants:
        return None
    tables = [
        _share_table(own, contestants[start : start + SMALL_SET])
        for start in range(0, len(contestants), SMALL_SET)
    ]
    return Chapter(
        "With the truncation of Algorithm 1",
        render("accuracy-truncated", tables=tables, dtype=dtype),
    )


def _variants(frame: pl.DataFrame, dtype: str) -> Chapter | None:
    """Power iteration with more steps, and the hybrid as Eq. 10 has it, beside the usual ones.

    On the matrices that all of them were measured on.
    """
    families = ("pi", "hybrid", "hybrid-eq10")
    own = frame.filter(pl.col("method").is_in(families) & (pl.col("dtype") == dtype))
    everyone = pl.col("contestant").n_unique().over("loss")
    own = own.filter(pl.col("contestant").n_unique().over(POINT) == everyone)
    own = judged(own)
    parts = []
    for loss in values_of(own, "loss"):
        there = own.filter(pl.col("loss") == loss)
        contestants = values_of(there, "contestant")
        if len(contestants) > len({"pi", "hybrid"} & set(contestants)):
            parts.append({"loss": loss, "table": _share_table(there, sorted(contestants))})
    if not parts:
        return None
    return Chapter(
        "Power iteration with more steps, and the hybrid without ∂L/∂λ (Eq. 10)",
        render("accuracy-variants", parts=parts, dtype=dtype),
    )


def _classes(frame: pl.DataFrame, shown: Sequence[str], dtype: str) -> Chapter | None:
    """Share right and not finite of each class of matrices inside the situations."""
    own = frame.filter(
        (pl.col("loss") == "whitening") & (pl.col("dtype") == dtype)
        & pl.col("situation").is_not_null() & pl.col("contestant").is_in(shown)
    )  # fmt: skip
    keys = ["situation", "spectrum", "gap", "scale", "d"]
    groups = own.group_by(*keys, "contestant").agg(
        pl.len(), pl.col("right").mean(), pl.col("finite").mean()
    )
    found = {tuple(row[key] for key in (*keys, "contestant")): row for row in groups.to_dicts()}
    classes = own.select(keys).unique(maintain_order=True, keep="first")
    order = pl.col("situation").cast(pl.Enum(situations.NAMES))
    body = []
    for row in classes.sort(order, maintain_order=True).iter_rows():
        cells = [found.get((*row, name)) for name in shown]
        gap = NOTHING if row[2] is None else axis_value(row[2])
        body.append([row[0], row[1], gap, axis_value(row[3]), str(row[4]),
                     *map(_class_cell, cells)])  # fmt: skip
    if not body:
        return None
    headers = ["situation", "spectrum", "gap", "scale", "d", *(f"`{name}`" for name in shown)]
    text = render("accuracy-classes", table=table(headers, body), dtype=dtype)
    return Chapter("Inside each situation: size by size", text)


def _class_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    lost = "" if row["finite"] == 1 else f" (NaN {percent(1 - row['finite'])})"
    return f"{percent(row['right'])}{lost}"


def _distributions(frames: Frames, frame: pl.DataFrame, dtype: str) -> Chapter | None:
    """Small multiples: the profile of every method in every situation, for whitening."""
    own = frame.filter((pl.col("loss") == "whitening") & (pl.col("dtype") == dtype))
    own = own.filter(pl.col("situation").is_not_null())
    methods = values_of(own, "contestant")
    if len(methods) <= SMALL_SET:
        return None
    picture, axes = panels(len(methods), 2.4, 1.9, columns=5, same=True)
    present = situations.present(own)
    for panel, method in zip(axes, methods, strict=True):
        for place, name in enumerate(present):
            rows = own.filter((pl.col("contestant") == method) & (pl.col("situation") == name))
            look = {"color": f"C{place}", "linestyle": "-", "linewidth": 1.2}
            profile(panel, rows["error"].to_numpy(), LEAST_ERROR, CEILING, label=name, **look)
        panel.axvline(0.01, color="0.6", linewidth=0.8)
        panel.set_title(method, fontsize=8.5)
        panel.set_xticks([1e-8, 1e-5, 1e-2, 10])
    for panel in axes[::5]:
        panel.set_ylabel("% of matrices", fontsize=8)
    for panel in axes[-5:]:
        panel.set_xlabel("relative error", fontsize=8)
        panel.tick_params(labelbottom=True)
    legend_below(picture, axes)
    link = save(picture, frames.folder, "profiles")
    caption = (
        "A panel a method, a curve a situation: the share of matrices with at most this error."
    )
    return Chapter(
        "The distribution of the error, method by method",
        figure(link, f"Profiles of the error of whitening by method, {dtype}", caption),
    )


def _closing(frames: Frames, frame: pl.DataFrame, shown: Sequence[str]) -> Chapter | None:
    """Error and norm as one gap closes, at one size and precision that the title names."""
    own = frame.filter((pl.col("spectrum") == "gap") & (pl.col("scale") == 1) & (pl.col("d") > 3))
    own = own.filter(pl.col("epsilon") == situations.EPSILON)
    if len(values_of(own, "gap")) < 2:
        return None
    size = min(values_of(own, "d"), key=lambda d: abs(d - USUAL_D))
    own = own.filter(pl.col("d") == size)
    settings = [
        (loss, dtype)
        for loss in values_of(own, "loss")
        for dtype in values_of(own.filter(pl.col("loss") == loss), "dtype")
        if loss == "whitening" or dtype == values_of(own, "dtype")[0]
    ]
    parts = [
        {"loss": loss, "dtype": dtype, "table": _gap_table(own, loss, dtype)}
        for loss, dtype in settings
        if len(values_of(own.filter((pl.col("loss") == loss) & (pl.col("dtype") == dtype)), "gap"))
        > 1
    ]
    several = values_of(own, "contestant")
    drawn = several if len(several) <= SMALL_SET else [*shown]
    links = _gap_pictures(frames, own.filter(pl.col("contestant").is_in(drawn)))
    fewer = len(drawn) < len(several)
    text = render("accuracy-gaps", parts=parts, links=links, d=size, drawn=drawn, fewer=fewer)
    return Chapter("As one gap closes", text)


def _gap_table(own: pl.DataFrame, loss: str, dtype: str) -> str:
    rows = own.filter((pl.col("loss") == loss) & (pl.col("dtype") == dtype))
    return pivot(rows, ("contestant", "gap"), pl.col("error").median(), corner="method \\ gap")


def _gap_pictures(frames: Frames, own: pl.DataFrame) -> list[str]:
    """Relative error and norm of the gradient against the gap, a panel a loss, float32 first."""
    dtype = values_of(own, "dtype")[0]
    own = own.filter(pl.col("dtype") == dtype)
    losses = [loss for loss in values_of(own, "loss")
              if len(values_of(own.filter(pl.col("loss") == loss), "gap")) > 1]  # fmt: skip
    links: list[str] = []
    if not losses:
        return links
    for quantity, name in (("error", "error-by-gap"), ("gradient_norm", "norm-by-gap")):
        picture, axes = panels(len(losses), 3.9, 3.2)
        for panel, loss in zip(axes, losses, strict=True):
            rows = own.filter(pl.col("loss") == loss)
            _gap_panel(panel, rows, quantity)
            panel.set_title(f"{loss}, {dtype}", fontsize=9)
        legend_below(picture, axes)
        words = "error" if quantity == "error" else "norm"
        alt = f"Median {words} of the gradient as one gap closes, {dtype}"
        links.append(figure(save(picture, frames.folder, name), alt))
    return links


def _gap_panel(panel: Any, rows: pl.DataFrame, quantity: str) -> None:
    places = gap_axis(panel, values_of(rows, "gap"))
    for method in values_of(rows, "contestant"):
        _gap_curve(panel, rows.filter(pl.col("contestant") == method), quantity, places,
                   label=method, **style(method))  # fmt: skip
    black = {"color": "black", "linestyle": ":", "linewidth": 1}
    if quantity == "error":
        _gap_curve(panel, rows, "rounding_floor", places, label="rounding of M", **black)
        panel.axhline(CEILING, color="0.8", linewidth=0.8)
        panel.annotate("not finite, or larger", (0.01, CEILING), (0, 3), fontsize=7, color="0.4",
                       xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
        panel.set_ylim(LEAST_ERROR, CEILING * 100)
        panel.set_ylabel("relative error")
    else:
        _gap_curve(panel, rows, "exact_gradient_norm", places, label="exact", **black)
        panel.set_ylabel("norm of the gradient")
    panel.set_yscale("log")


def _gap_curve(
    panel: Any, rows: pl.DataFrame, quantity: str, places: dict[float, float], **look: Any
) -> None:
    """Medians by gap; what is not finite is a point at the top, joined to nothing."""
    middles = rows.group_by("gap").agg(metric(rows, quantity).fill_nan(float("inf")).median())
    found = dict(middles.iter_rows())
    gaps = sorted((gap for gap in places if gap in found), reverse=True)
    values = np.array([np.nan if found[gap] is None else found[gap] for gap in gaps])
    x = np.array([places[gap] for gap in gaps])
    beyond = values > CEILING
    finite = np.where(beyond | (values == 0), np.nan, values)
    panel.plot(x, finite, **look)
    if quantity == "error" and beyond.any():
        panel.plot(x[beyond], [CEILING] * int(beyond.sum()),
                   **{**look, "linestyle": "none", "label": None})  # fmt: skip


def _by_epsilon(rows: pl.DataFrame) -> Chapter | None:
    """Singular matrices by ε and precision: one table of shares for each."""
    own = rows.filter(pl.col("spectrum").is_in(("rank-deficient", "cifar-conv")))
    own = own.filter((pl.col("loss") == "whitening") & (pl.col("scale") == 1))
    sizes = values_of(own.filter(pl.col("epsilon") != situations.EPSILON), "d")
    own = own.filter(pl.col("d").is_in(sizes))
    if len(values_of(own, "epsilon")) < 3:
        return None
    parts = [
        {
            "title": f"{spectrum}, {word('d', d)}, {dtype}",
            "table": pivot(there, ("contestant", "epsilon"), pl.col("right").mean(), percent),
        }
        for (spectrum, d, dtype), there in own.group_by(
            "spectrum", "d", "dtype", maintain_order=True
        )
    ]
    return Chapter("What ε does to singular matrices", render("accuracy-epsilon", parts=parts))


def _by_precision(rows: pl.DataFrame) -> Chapter | None:
    """The situations that were measured in both precisions."""
    keys = ("loss", "situation", "contestant")
    single = rows.filter(pl.col("dtype") == "float32").select(*keys, "right", "error", "n")
    double = rows.filter(pl.col("dtype") == "float64").select(*keys, "right", "error", "n")
    both = single.join(double, on=keys, suffix="_double", maintain_order="left")
    if both.is_empty():
        return None
    body = [
        [row["loss"], row["situation"], f"`{row['contestant']}`",
         f"{percent(row['right'])} of {row['n']}", scientific(row["error"]),
         f"{percent(row['right_double'])} of {row['n_double']}", scientific(row["error_double"])]
        for row in both.to_dicts()
    ]  # fmt: skip
    headers = ["loss", "situation", "method", "float32: within 1 %", "median error",
               "float64: within 1 %", "median error"]  # fmt: skip
    return Chapter("float32 and float64", render("accuracy-precision", table=table(headers, body)))


def _spectra(frames: Frames) -> Chapter | None:
    """The eigenvalues of one matrix of each spectrum of the suite, from its definition."""
    frame = frames.usual
    names = [name for name in values_of(frame, "spectrum") if name in SPECTRA]
    if not names:
        return None
    size = min(64, max(values_of(frame, "d")))
    picture, axes = panels(1, 7.5, 3.6)
    for place, name in enumerate(names):
        sizes = values_of(frame.filter(pl.col("spectrum") == name), "d")
        own = min(size, max(sizes))
        gap = 1e-2 if SPECTRA[name].uses_gap else None
        values = draw(SPECTRA[name], own, gap, range(1)).eigenvalues[0, ::-1] + situations.EPSILON
        axes[0].plot(np.arange(1, own + 1), values / values[0], label=name, color=f"C{place}",
                     marker=".", markersize=3, linewidth=1)  # fmt: skip
    axes[0].set(yscale="log", xlabel="eigenvalue, the largest first", ylabel="λ over the largest")
    axes[0].axhline(situations.EPSILON, color="0.7", linewidth=0.8, linestyle=":")
    legend_below(picture, axes)
    link = save(picture, frames.folder, "spectra")
    shown = figure(link, "Eigenvalues of one matrix of each spectrum")
    text = render("accuracy-spectra", figure=shown, epsilon=situations.EPSILON, d=size)
    return Chapter("What the matrices look like", text)
