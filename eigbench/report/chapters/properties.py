"""What else tells methods apart: bias, the coefficient, crossings, invariances, the loop."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from eigbench.kinds.stability import StabilityCase
from eigbench.report import situations
from eigbench.report.frame import POINT, RIGHT, Frames, metric, values_of
from eigbench.report.names import setting, words
from eigbench.report.numbers import axis_value, scientific
from eigbench.report.plots import SMALL_SET, legend_below, panels, save, style
from eigbench.report.render import Chapter, figure, pivot, render, table

NEAR = 1e-5
"""Within this of the crossing the exact gradient hardly moves, and no other should."""
CLIPPED = 3.0
"""Larger components are arrows at the rim."""
CHANGES = {
    "neighbour_change": "neighbours in the batch",
    "repeat_change": "a repeated call",
    "precision_change": "float32 for float64",
    "thread_change": "2 threads for 1",
}


def chapters(frames: Frames, frame: pl.DataFrame) -> list[Chapter | None]:
    """Every chapter that the rows have data for."""
    return [
        _bias(frame),
        _coefficient(frames.usual),
        _crossing(frames),
        _invariances(frames.invariances),
        _conditions(frame),
        _gates(frames.usual),
        _literal_loop(frames.usual),
        _refused(frames),
    ]


GATES = {"gate_residual": 200, "gate_orthogonality": 100}
"""What the contest allows, in n·ε."""


def _gates(frame: pl.DataFrame) -> Chapter | None:
    """The worst by method, and by family, beside what is allowed."""
    if not {*GATES} <= {*frame.columns}:
        return None
    own = frame.filter(pl.col("gate_residual").is_not_null())
    if own.is_empty():
        return None
    worst = [pl.col(name).fill_nan(math.inf).max() for name in GATES]

    def by(*keys: str) -> str:
        found = own.group_by(keys, maintain_order=True).agg(pl.len().alias("n"), *worst)
        body = [
            [*(axis_value(row[key]) for key in keys), str(row["n"])]
            + [scientific(row[name]) for name in GATES]
            + ["yes" if all(row[name] <= GATES[name] for name in GATES) else "**no**"]
            for row in found.to_dicts()
        ]
        return table([*keys, "n", "residual", "orthogonality", "passes"], body)

    text = render("properties-gates", gates=GATES, by_method=by("method"),
                  by_family=by("spectrum", "scale", "d"))  # fmt: skip
    return Chapter("The gates of a public contest", text)


def _bias(frame: pl.DataFrame) -> Chapter | None:
    """How far the value is from f(M), and the gradient from the derivative of that value."""
    own = frame.filter(metric(frame, "own_gradient_error").is_not_null())
    own = own.filter(pl.col("situation") == situations.OPEN_GAPS)
    if own.is_empty():
        return None
    errors = ("function_error", "own_gradient_error", "error")
    medians = own.group_by("loss", "contestant", maintain_order=True).agg(
        pl.len(), *(pl.col(name).fill_nan(math.inf).median() for name in errors)
    )
    body = [[loss, f"`{name}`", str(n), *map(scientific, numbers)]
            for loss, name, n, *numbers in medians.iter_rows()]  # fmt: skip
    headers = ["loss", "method", "matrices", "value off f(M)", "gradient off its own value's",
               "gradient off the exact one"]  # fmt: skip
    where = setting(own, ("d", "gap", "dtype", "epsilon"))
    text = render("properties-bias", table=table(headers, body), where=where)
    return Chapter("Bias and inconsistency", text)


def _coefficient(frame: pl.DataFrame) -> Chapter | None:
    """The coefficient of one pair alone, as the ratio of its two eigenvalues goes to 1."""
    own = frame.filter(
        (pl.col("d") == 2) & (pl.col("spectrum") == "gap") & (pl.col("scale") == 1)
        & (pl.col("loss") == "closing-eigenvector") & (pl.col("epsilon") == 0)
    )  # fmt: skip
    if len(values_of(own, "gap")) < 3:
        return None
    floors = own.group_by("gap").agg(metric(own, "rounding_floor").median().alias("floor"))
    text = render(
        "properties-coefficient",
        table=pivot(own, ("contestant", "gap"), pl.col("error").median(), corner="method \\ 1 − q"),
        dtype=", ".join(values_of(own, "dtype")),
        floors=floors.sort("gap", descending=True).rows(),
    )
    return Chapter("The coefficient of one pair", text)


def _crossing(frames: Frames) -> Chapter | None:
    """How far each gradient jumps where two eigenvalues cross.

    A gradient that is not finite counts as an infinite component and jump.
    """
    paths = frames.paths
    if paths.is_empty():
        return None
    position, near = pl.col("position"), pl.col("position").abs() <= NEAR
    component = pl.col("crossing_ratio").fill_nan(math.inf)
    jump, exact = (
        pl.col(name).filter(near & near.shift(-1)).fill_nan(math.inf).fill_null(math.inf).max()
        for name in ("moved", "exact_moved")
    )
    rows = paths.group_by("dtype", "method", "id", maintain_order=True).agg(
        component.get(position.abs().arg_max()).alias("far"),
        component.filter(near & (position != 0)).median().alias("near"),
        component.filter(position == 0).first().alias("at"),
        jump,
        pl.format("{} of {}", (pl.col("gradient_finite") == 1).sum(), pl.len()).alias("finite"),
        exact,
    )
    headers = ["method", "component far away", "near", "at the crossing", "jump", "finite"]
    tables = [
        {"dtype": own["dtype"][0], "exact": own["exact_moved"].max(),
         "table": table(headers, [[f"`{method}`", *map(scientific, numbers), finite]
                                  for _, method, _, *numbers, finite, _ in own.iter_rows()])}
        for own in rows.partition_by("dtype", maintain_order=True)
    ]  # fmt: skip
    text = render("properties-crossing", tables=tables, figure=_crossing_picture(frames, paths),
                  where=setting(paths, ("loss", "d", "epsilon")), near=NEAR)  # fmt: skip
    return Chapter("Through a crossing of two eigenvalues", text)


def _crossing_picture(frames: Frames, paths: pl.DataFrame) -> str:
    dtypes, methods = values_of(paths, "dtype"), values_of(paths, "method")
    shown = methods if len(methods) <= SMALL_SET else methods[:SMALL_SET]
    picture, axes = panels(len(dtypes), width=6)
    for panel, dtype in zip(axes, dtypes, strict=True):
        for method in shown:
            own = paths.filter((pl.col("dtype") == dtype) & (pl.col("method") == method))
            x, component = own["position"].to_numpy(), own["crossing_ratio"].to_numpy()
            inside = [*np.flatnonzero(np.abs(component) <= CLIPPED)]
            panel.plot(x, component.clip(-CLIPPED, CLIPPED), label=method, markevery=inside,
                       **style(method))  # fmt: skip
            for one, value in zip(x, component, strict=True):
                if abs(value) > CLIPPED:
                    panel.annotate("↑" if value > 0 else "↓", (one, np.sign(value) * CLIPPED),
                                   ha="center", va="bottom" if value > 0 else "top",
                                   color=style(method)["color"])  # fmt: skip
        panel.set_xscale("symlog", linthresh=1e-10)
        panel.set_xticks([-1e-1, -1e-4, -1e-7, 0, 1e-7, 1e-4, 1e-1])
        panel.set_ylim(-CLIPPED * 1.2, CLIPPED * 1.2)
        panel.set_title(dtype, fontsize=9)
        panel.set_xlabel("half the relative distance of the two eigenvalues")
        panel.set_ylabel("component over the exact one")
    legend_below(picture, axes)
    link = save(picture, frames.folder, "through-a-crossing")
    return figure(link, f"Component of the gradient on the crossing pair, {', '.join(shown)}",
                  f"1 is right. An arrow is a component beyond ±{CLIPPED:g}.")  # fmt: skip


def _invariances(frame: pl.DataFrame) -> Chapter | None:
    """What must not change a gradient, and by how much it does."""
    present = [name for name in CHANGES if name in frame.columns]
    if not present:
        return None
    worst = frame.group_by("method", maintain_order=True).agg(
        pl.len(), *(pl.col(name).fill_nan(math.inf).fill_null(math.inf).max() for name in present)
    )
    body = [
        [f"`{row['method']}`", *(scientific(row[name]) for name in present), str(row["len"])]
        for row in worst.to_dicts()
    ]
    headers = ["method", *(CHANGES[name] for name in present), "matrices"]
    where = setting(frame, ("loss", "spectrum", "d", "gap", "dtype", "epsilon"))
    text = render("properties-invariances", table=table(headers, body), where=where)
    return Chapter("What must not change a gradient", text)


def _conditions(frame: pl.DataFrame) -> Chapter | None:
    """The condition number of a covariance, before and after it is whitened."""
    own = frame.filter(
        (pl.col("scale") == 1) & (pl.col("loss") == "whitening") & (pl.col("dtype") == "float32")
        & (pl.col("epsilon") == situations.EPSILON) & pl.col("situation").is_not_null()
        & metric(frame, "condition_after").is_not_null()
    )  # fmt: skip
    if own.is_empty():
        return None
    after = pl.col("condition_after").fill_nan(math.inf).median()
    before = own.group_by("situation", maintain_order=True).agg(pl.col("condition_number").median())
    text = render("properties-conditions", before=before.rows(),
                  table=pivot(own, ("contestant", "situation"), after))  # fmt: skip
    return Chapter("The condition number before and after whitening", text)


def _literal_loop(frame: pl.DataFrame) -> Chapter | None:
    """Algorithm 1 step by step beside its closed form, at the matrices that both have."""
    loop, closed = (frame.filter(pl.col("method") == name) for name in ("hybrid-loop", "hybrid"))
    both = loop.join(closed, on=[*POINT], suffix="_closed", nulls_equal=True, maintain_order="left")
    if both.is_empty():
        return None
    lost = both.filter(~pl.col("finite") & pl.col("finite_closed"))
    apart = both.filter(
        pl.col("finite") & pl.col("finite_closed")
        & ((pl.col("error") - pl.col("error_closed")).abs() > pl.col("error_closed") + RIGHT)
    )  # fmt: skip
    keys = ["spectrum", "d", "gap", "scale", "dtype", "epsilon", "loss"]
    different = pl.concat([lost, apart]).group_by(keys, maintain_order=True).agg(
        pl.len(), pl.col("error").median(), pl.col("error_closed").median())  # fmt: skip
    body = [[words(row, keys), str(row["len"]), scientific(row["error"]),
             scientific(row["error_closed"])] for row in different.to_dicts()]  # fmt: skip
    headers = ["matrices of", "number", "hybrid-loop: median error", "hybrid: median error"]
    text = render("properties-loop", n=len(both), lost=len(lost), apart=len(apart), right=RIGHT,
                  table=table(headers, body) if body else "")  # fmt: skip
    return Chapter("The literal loop of Algorithm 1 beside its closed form", text)


def _refused(frames: Frames) -> Chapter | None:
    """What methods cannot do, by reason; cases that make no sense are under *Skipped*."""
    done = {(case.method, case.loss) for case, _ in frames.records(StabilityCase, "measured")}
    found: dict[tuple[str, str], dict[str, None]] = {}
    for case, record in frames.records(StabilityCase, "skipped"):
        if (case.method, case.loss) not in done:
            found.setdefault((case.method, record.reason or ""), {})[case.loss] = None
    body = [[f"`{method}`", ", ".join(losses), reason]
            for (method, reason), losses in found.items()]  # fmt: skip
    if not body:
        return None
    return Chapter("What some methods cannot do", table(["method", "losses", "reason"], body))
