"""How right the gradients are: by situation, threshold and loss; as a gap closes; by ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from eigbench.axes import COMPLEX
from eigbench.report import situations
from eigbench.report.frame import POINT, RIGHT, Frames, metric, values_of
from eigbench.report.judgement import judged
from eigbench.report.names import words
from eigbench.report.numbers import NOTHING, cosine, percent, scientific, span
from eigbench.report.plots import (
    OKABE_ITO,
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

CEILING = 1e3
"""Where errors that are not finite, or larger, are drawn."""
LEAST_ERROR = 1e-8
"""The lower end of the error axis, below the rounding of float32."""
USUAL_D = 16


def chapters(
    frames: Frames, frame: pl.DataFrame, verdicts: pl.DataFrame, shown: Sequence[str], dtype: str
) -> list[Chapter | None]:
    """Every chapter that the rows have data for.

    `frame` has the rows on which contestants are compared, `verdicts` what is `judged` of them;
    `shown` are the contestants of the opening.
    """
    several = values_of(frame, "contestant")
    few = pl.col("contestant").is_in(several if len(several) <= SMALL_SET else shown)
    whitening = frame.filter(
        (pl.col("loss") == "whitening") & (pl.col("dtype") == dtype)
        & pl.col("situation").is_not_null()
    )  # fmt: skip
    return [
        _definitions(frame),
        _by_situation(frames, verdicts.filter(pl.col("dtype") == dtype), dtype),
        _truncated(verdicts, dtype),
        _more_steps(frames.stability.filter(pl.col("dtype") == dtype), dtype),
        _classes(frames, whitening.filter(few), dtype),
        _distributions(frames, whitening, dtype),
        _closing(frames, frame, shown),
        _by_epsilon(frame.filter(few & (pl.col("dtype") == dtype))),
        _by_precision(frame.filter(few)),
    ]


def share_cell(row: dict[str, Any]) -> str:
    """A row of `judged`: right, not finite where some are, median error, median cosine."""
    return f"**{percent(row['right'])}**{_rest(row)}"


def _cell_of_all(row: dict[str, Any]) -> str:
    """The same with all three thresholds."""
    shares = (percent(row[name]).removesuffix(" %") for name in ("right", "sound", "same_size"))
    return f"{'/'.join(shares)} %{_rest(row)}"


def _rest(row: dict[str, Any]) -> str:
    where = "" if row["lost_d"] is None else f", only d = {row['lost_d']}"
    lost = "" if row["finite"] == 1 else f" (NaN {percent(1 - row['finite'])}{where})"
    direction = NOTHING if row["cosine"] is None else cosine(row["cosine"])
    return f"{lost}, {scientific(row['error'])}, {direction}"


def share_table(
    rows: pl.DataFrame, write: Callable[[dict[str, Any]], str] = share_cell, between: str = ""
) -> str:
    """`judged` of one loss: contestants down, situations across; rows of one cell are joined."""
    cells = rows.select(
        pl.format("`{}`", "contestant").alias("method"),
        pl.format("{} ({})", "situation", "n").alias("situation"),
        pl.Series("cell", [write(row) for row in rows.to_dicts()]),
    )
    joined = pl.element().str.join(between)
    wide = cells.pivot("situation", index="method", values="cell", aggregate_function=joined)
    return table(wide.columns, wide.fill_null(NOTHING).rows())


def _definitions(frame: pl.DataFrame) -> Chapter:
    """What the situations are, and how many matrices of each spectrum belong to them."""
    matrix = [key for key in POINT if key != "loss"]
    counts = frame.unique(["situation", *matrix], keep="first", maintain_order=True)
    body = []
    for name in situations.present(frame):
        own = counts.filter(pl.col("situation") == name)
        spectra = own.group_by("spectrum", maintain_order=True).len().iter_rows()
        gaps = own.select(metric(own, "smallest_relative_gap").alias("gap"))["gap"].drop_nulls()
        factors = f": {span(values_of(own, 'scale'), scientific)}" * (name == situations.SCALED)
        body.append([
            name, situations.SITUATIONS[name] + factors,
            ", ".join(f"{spectrum} ({n})" for spectrum, n in spectra),
            ", ".join(map(str, values_of(own, "d"))),
            span(gaps, scientific),
        ])  # fmt: skip
    headers = ["situation", "what it is", "spectra (matrices, all precisions)", "d",
               "smallest relative gap"]  # fmt: skip
    text = render("accuracy-definitions", table=table(headers, body), usual=situations.EPSILON,
                  hermitian=not {*values_of(frame, "dtype")}.isdisjoint(COMPLEX))  # fmt: skip
    return Chapter("How to read this report", text)


def heat(panel: Any, rows: pl.DataFrame, by: tuple[str, str], orders: Sequence[Any]) -> Any:
    """Shares within 1 % in colour and in %, under them what is not finite; returns the image."""
    found = {(row[by[0]], row[by[1]]): row for row in rows.to_dicts()}
    texts = [[_heat_text(found.get((one, other))) for other in orders[1]] for one in orders[0]]
    values = [[100 * found[one, other]["right"] if (one, other) in found else np.nan
               for other in orders[1]] for one in orders[0]]  # fmt: skip
    columns = [str(other).replace(" ", "\n") for other in orders[1]]
    return heat_map(panel, np.array(values), orders[0], columns, texts)


def _heat_text(row: dict[str, Any] | None) -> str:
    if row is None or row["finite"] == 0:
        return "" if row is None else "NaN"
    lost = "" if row["finite"] == 1 else f"\nNaN {percent(1 - row['finite'])}"
    return f"{percent(row['right'])}{lost}".replace(" %", "")


def heat_maps(
    frames: Frames, rows: pl.DataFrame, by: str, name: str, alt: str, **shape: Any
) -> str:
    """A heat map for each value of a column: contestant × situation, in the order of the rows."""
    values = values_of(rows, by)
    height = 1.4 + 0.24 * len(values_of(rows, "contestant"))
    picture, axes = panels(len(values), height=height, **shape)
    for panel, value in zip(axes, values, strict=True):
        own = rows.filter(pl.col(by) == value)
        axes_of = ("contestant", "situation")
        image = heat(panel, own, axes_of, [values_of(own, axis) for axis in axes_of])
        panel.set_title(value, fontsize=9)
    picture.colorbar(image, ax=axes, shrink=0.5, label="within 1 %, % of matrices")
    caption = "In % of the matrices; NaN: that are not finite (all, where it is alone)."
    return figure(save(picture, frames.folder, name), alt, caption)


def _by_situation(frames: Frames, rows: pl.DataFrame, dtype: str) -> Chapter | None:
    """A heat map a loss: method × situation, share within 1 %, share not finite."""
    losses = values_of(rows, "loss")
    if not losses:
        return None
    alt = f"Share within 1 % by method and situation, {dtype}"
    shown = heat_maps(frames, rows, "loss", "right-by-situation", alt, width=5.2, columns=2)
    tables = [details(loss, share_table(rows.filter(pl.col("loss") == loss), _cell_of_all))
              for loss in losses if loss != "whitening-truncated"]  # fmt: skip
    body = render("accuracy-every", figure=shown, tables=tables)
    return Chapter("Every method in every situation", body)


def _truncated(verdicts: pl.DataFrame, dtype: str) -> Chapter | None:
    """Whitening by the pairs that Algorithm 1 keeps."""
    own = verdicts.filter((pl.col("loss") == "whitening-truncated") & (pl.col("dtype") == dtype))
    if own.is_empty():
        return None
    text = render("accuracy-truncated", table=share_table(own), dtype=dtype)
    return Chapter("With the truncation of Algorithm 1", text)


def _more_steps(frame: pl.DataFrame, dtype: str) -> Chapter | None:
    """Power iteration at every K, on the matrices that it was measured on at all of them."""
    own = frame.filter(pl.col("method") == "pi")
    everyone = pl.col("contestant").n_unique().over("loss")
    own = own.filter((pl.col("contestant").n_unique().over(POINT) == everyone) & (everyone > 1))
    parts = [{"loss": rows["loss"][0], "table": share_table(rows)}
             for rows in judged(own).partition_by("loss", maintain_order=True)]  # fmt: skip
    if not parts:
        return None
    return Chapter("Power iteration with more steps",
                   render("accuracy-steps", parts=parts, dtype=dtype))  # fmt: skip


def _classes(frames: Frames, own: pl.DataFrame, dtype: str) -> Chapter | None:
    """A heat map a method: spectrum, gap and scale × size."""
    if own.is_empty():
        return None
    keys = ["situation", "spectrum", "gap", "scale"]
    order = pl.col("situation").cast(pl.Enum(situations.NAMES))
    rows = own.group_by(*keys, "d", "contestant").agg(
        pl.len().alias("n"), pl.col("right").mean(), pl.col("finite").mean()
    ).sort(order, "spectrum", "scale", "gap", descending=[False, False, False, True])  # fmt: skip
    unscaled = pl.when(pl.col("scale") != 1).then("scale").alias("scale")
    named = [f"{row['situation']}: {words(row, keys[1:])}"
             for row in rows.with_columns(unscaled).to_dicts()]  # fmt: skip
    rows = rows.with_columns(pl.Series("class", named))
    methods, classes = values_of(own, "contestant"), values_of(rows, "class")
    picture, axes = panels(len(methods), 2.8, 1.2 + 0.3 * len(classes), SMALL_SET, same=True)
    for panel, method in zip(axes, methods, strict=True):
        there = rows.filter(pl.col("contestant") == method)
        heat(panel, there, ("class", "d"), [classes, values_of(own, "d")])
        panel.set_xlabel("matrix size d", fontsize=8)
        panel.set_title(method, fontsize=9)
    link = save(picture, frames.folder, "right-by-class")
    alt = f"Share within 1 % by class of matrices and method, whitening, {dtype}"
    counts = rows["n"].unique().sort().to_list()
    text = render("accuracy-classes", figure=figure(link, alt), dtype=dtype, counts=counts)
    return Chapter("Inside each situation: size by size", text)


def profiles(frames: Frames, own: pl.DataFrame, by: tuple[str, str], columns: int) -> str:
    """Performance profiles: a panel for each value of one column, a curve for each of another.

    Returns the link of the picture.
    """
    across, inside = by
    orders = [situations.present(own) if name == "situation" else values_of(own, name)
              for name in by]  # fmt: skip
    picture, axes = panels(len(orders[0]), 2.6, 2.2, columns=columns, same=True)
    for panel, value in zip(axes, orders[0], strict=True):
        there = own.filter(pl.col(across) == value)
        for place, one in enumerate(orders[1]):
            rows = there.filter(pl.col(inside) == one)
            look = style(one) if inside == "contestant" else {"color": OKABE_ITO[place]}
            profile(panel, rows["error"].to_numpy(), LEAST_ERROR, CEILING, label=one, **look)
        panel.axvline(RIGHT, color="0.6", linewidth=0.8)
        matrices = len(there) // max(1, len(values_of(there, "contestant")))
        panel.set_title(f"{value} ({matrices})", fontsize=8.5)
        panel.set_xticks([1e-8, 1e-5, 1e-2, 10])
    for panel in axes[::columns]:
        panel.set_ylabel("% of matrices\nwith at most this error", fontsize=8)
    for panel in axes[-columns:]:
        panel.set_xlabel("relative error", fontsize=8)
        panel.tick_params(labelbottom=True)
    legend_below(picture, axes)
    return save(picture, frames.folder, "situations" if across == "situation" else "profiles")


def _distributions(frames: Frames, own: pl.DataFrame, dtype: str) -> Chapter | None:
    """Small multiples: the profile of every method in every situation, for whitening."""
    if len(values_of(own, "contestant")) <= SMALL_SET:
        return None
    alt = f"Profiles of the error of whitening by method, {dtype}"
    shown = figure(profiles(frames, own, ("contestant", "situation"), 5), alt,
                   "A panel a method (matrices), a curve a situation.")  # fmt: skip
    return Chapter("The distribution of the error, method by method", shown)


def one_gap(frame: pl.DataFrame) -> pl.DataFrame:
    """Spectrum `gap` at the paper's ε and scale 1, of the size next to 16, where gaps vary."""
    own = frame.filter((pl.col("spectrum") == "gap") & (pl.col("scale") == 1)
                       & (pl.col("epsilon") == situations.EPSILON))  # fmt: skip
    size = min(values_of(own, "d"), key=lambda d: abs(d - USUAL_D), default=0)
    own = own.filter(pl.col("d") == size)
    return own.filter(pl.col("gap").n_unique().over("loss", "dtype") > 1)


def _closing(frames: Frames, frame: pl.DataFrame, shown: Sequence[str]) -> Chapter | None:
    """Error as one gap closes, at one size and precision that the titles name."""
    own = one_gap(frame)
    if not (own["status"] == "measured").any():
        return None
    tables = {
        rows["dtype"][0]: pivot(rows, ("contestant", "gap"), pl.col("error").median(),
                                corner="method \\ gap")
        for rows in own.filter(pl.col("loss") == "whitening").partition_by("dtype")
    }  # fmt: skip
    several = values_of(own, "contestant")
    drawn = several if len(several) <= SMALL_SET else [*shown]
    pictured = own.filter(pl.col("contestant").is_in(drawn), pl.col("dtype") == own["dtype"][0])
    text = render(
        "accuracy-gaps",
        tables=tables,
        figure=_gap_picture(frames, pictured),
        d=own["d"][0],
        drawn=drawn,
        fewer=len(drawn) < len(several),
    )
    return Chapter("As one gap closes", text)


def _gap_picture(frames: Frames, own: pl.DataFrame) -> str:
    """Median errors against the gap, a panel a loss; what is dotted has no method."""
    losses, setting = values_of(own, "loss"), f"d = {own['d'][0]}, {own['dtype'][0]}"
    picture, axes = panels(len(losses), 3.9, 3.2)
    for panel, loss in zip(axes, losses, strict=True):
        rows = own.filter(pl.col("loss") == loss)
        places = gap_axis(panel, values_of(rows, "gap"))
        for method in values_of(rows, "contestant"):
            _gap_curve(panel, rows.filter(pl.col("contestant") == method), "error", places,
                       label=method, **style(method))  # fmt: skip
        _gap_curve(panel, rows, "rounding_floor", places, label="rounding of M", color="black",
                   linestyle=":")  # fmt: skip
        panel.axhline(CEILING, color="0.8", linewidth=0.8)
        panel.text(0.01, 1.3 * CEILING, "not finite, or larger", fontsize=7,
                   transform=panel.get_yaxis_transform())  # fmt: skip
        panel.set(yscale="log", ylabel="relative error of the gradient",
                  ylim=(LEAST_ERROR, 100 * CEILING))  # fmt: skip
        panel.set_title(f"{loss}, {setting}", fontsize=9)
    legend_below(picture, axes)
    alt = f"Median error of the gradient as one gap closes, {setting}"
    return figure(save(picture, frames.folder, "error-by-gap"), alt)


def _gap_curve(
    panel: Any, rows: pl.DataFrame, quantity: str, places: dict[float, float], **look: Any
) -> None:
    """Medians by gap; an error that is not finite is a point at the top, joined to nothing."""
    middle = metric(rows, quantity).fill_nan(np.inf).median().alias("middle")
    found = rows.group_by("gap").agg(middle).drop_nulls().sort("gap", descending=True)
    x, values = np.array([places[gap] for gap in found["gap"]]), found["middle"].to_numpy()
    beyond = values > CEILING
    panel.plot(x, np.where(beyond | (values == 0), np.nan, values), **look)
    if beyond.any():
        panel.plot(x[beyond], [CEILING] * int(beyond.sum()),
                   **{**look, "linestyle": "none", "label": None})  # fmt: skip


def low_rank(frame: pl.DataFrame) -> pl.DataFrame:
    """Whitening of matrices of low rank, at the sizes that have several ε; `matrices` names them.

    Nothing where there are fewer than three ε.
    """
    keys = ("spectrum", "d", "dtype", "epsilon")
    own = frame.filter(
        pl.col("spectrum").is_in(("rank-deficient", "cifar-conv")) & (pl.col("scale") == 1)
        & (pl.col("loss") == "whitening")
    )  # fmt: skip
    own = own.filter(pl.col("epsilon").n_unique().over("spectrum", "d", "dtype") > 2)
    named = [words(row, keys) for row in own.select(keys).to_dicts()]
    return own.with_columns(pl.Series("matrices", named, pl.String)).sort(
        "spectrum", "dtype", "d", "epsilon", maintain_order=True
    )


def _by_epsilon(rows: pl.DataFrame) -> Chapter | None:
    """Singular matrices by ε and precision."""
    own = low_rank(rows)
    if own.is_empty():
        return None
    shares = pivot(own, ("matrices", "contestant"), pl.col("right").mean(), percent)
    return Chapter("What ε does to singular matrices", render("accuracy-epsilon", table=shares))


def _by_precision(frame: pl.DataFrame) -> Chapter | None:
    """Shares in float32 and float64, on the matrices of whitening that were measured in both."""
    keys = [key for key in (*POINT, "contestant") if key != "dtype"]
    both = frame.filter(
        (pl.col("loss") == "whitening") & pl.col("dtype").is_in(("float32", "float64"))
    )
    rows = judged(both.filter(pl.col("dtype").n_unique().over(keys) == 2))
    if rows.is_empty():
        return None
    shares = share_table(rows, lambda row: percent(row["right"]), " → ")
    return Chapter("float32 and float64", render("accuracy-precision", table=shares))
