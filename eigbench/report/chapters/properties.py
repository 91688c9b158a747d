"""What else tells methods apart: bias, crossings, invariances, scale, ties elsewhere, the loop."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from eigbench.kinds.stability import StabilityCase
from eigbench.report import situations
from eigbench.report.frame import POINT, RIGHT, Frames, metric, values_of
from eigbench.report.names import setting
from eigbench.report.numbers import scientific
from eigbench.report.plots import SMALL_SET, legend_below, panels, save, style
from eigbench.report.render import Chapter, figure, pivot, render, table

NEAR = 1e-5
"""Within this of the crossing the exact gradient hardly moves, and no other should."""
CLIPPED = 3.0
"""Where larger components are drawn."""
CHANGES = {
    "neighbour_change": "neighbours in the batch",
    "repeat_change": "a repeated call",
    "precision_change": "float32 for float64",
    "thread_change": "2 threads for 1",
}


def chapters(frames: Frames, frame: pl.DataFrame) -> list[Chapter | None]:
    """Every chapter that the rows have data for."""
    usual = frames.usual
    return [
        _bias(frame),
        _coefficient(frames, usual),
        _crossing(frames),
        _invariances(frames),
        _scale(usual),
        _repeated(usual),
        _conditions(usual),
        _literal_loop(usual),
        _refused(frames),
    ]


def _finite_max(name: str) -> pl.Expr:
    """The largest of a column, infinite where a value is missing or NaN."""
    return pl.col(name).fill_nan(math.inf).fill_null(math.inf).max()


def _bias(frame: pl.DataFrame) -> Chapter | None:
    """How far the value is from f(M), and the gradient from the derivative of that value."""
    if "own_gradient_error" not in frame.columns:
        return None
    own = frame.filter(pl.col("own_gradient_error").is_not_null())
    own = own.filter(pl.col("situation") == situations.OPEN_GAPS)
    if own.is_empty():
        return None
    medians = own.group_by("loss", "contestant", maintain_order=True).agg(
        pl.len().alias("n"),
        *(pl.col(name).fill_nan(math.inf).median()
          for name in ("function_error", "own_gradient_error", "error")),
    )  # fmt: skip
    body = [
        [row["loss"], f"`{row['contestant']}`", str(row["n"]), scientific(row["function_error"]),
         scientific(row["own_gradient_error"]), scientific(row["error"])]
        for row in medians.to_dicts()
    ]  # fmt: skip
    headers = ["loss", "method", "matrices", "value off f(M)", "gradient off its own value's",
               "gradient off the exact one"]  # fmt: skip
    where = setting(own, ("d", "gap", "dtype", "epsilon"))
    return Chapter("Bias and inconsistency", render("properties-bias", table=table(headers, body),
                                                    where=where))  # fmt: skip


def _coefficient(frames: Frames, frame: pl.DataFrame) -> Chapter | None:
    """The coefficient of one pair alone, as the ratio of its two eigenvalues goes to 1."""
    own = frame.filter(
        (pl.col("d") == 2) & (pl.col("spectrum") == "gap") & (pl.col("scale") == 1)
        & (pl.col("loss") == "closing-eigenvector")
    )  # fmt: skip
    gaps = values_of(own, "gap")
    if len(gaps) < 3:
        return None
    picture, axes = panels(1, 7.5, 3.6)
    methods = values_of(own, "contestant")
    for method in methods:
        rows = (
            own.filter(pl.col("contestant") == method).group_by("gap").agg(pl.col("error").median())
        )
        rows = rows.sort("gap", descending=True)
        axes[0].plot(rows["gap"], rows["error"].clip(1e-17), label=method, **style(method))
    axes[0].set(xscale="log", yscale="log", xlabel="1 − q", ylabel="median relative error")
    axes[0].invert_xaxis()
    legend_below(picture, axes)
    link = save(picture, frames.folder, "coefficient-by-ratio")
    shown = figure(link, "Median error of the coefficient as two eigenvalues approach each other")
    tables = pivot(own, ("contestant", "gap"), pl.col("error").median(), corner="method \\ 1 − q")
    floor = own.group_by("gap").agg(metric(own, "rounding_floor").median().alias("x"))
    floors = {row["gap"]: row["x"] for row in floor.to_dicts()}
    dtypes = ", ".join(values_of(own, "dtype"))
    return Chapter("The coefficient of one pair", render(
        "properties-coefficient", figure=shown, table=tables, dtype=dtypes,
        floors=[(gap, floors[gap]) for gap in gaps]))  # fmt: skip


def _crossing(frames: Frames) -> Chapter | None:
    """How far each gradient jumps where two eigenvalues cross."""
    paths = frames.paths
    if paths.is_empty():
        return None
    tables = [
        {"dtype": dtype, "table": _crossing_table(own)}
        for (dtype,), own in paths.group_by("dtype", maintain_order=True)
    ]
    link = _crossing_picture(frames, paths)
    where = setting(paths, ("loss", "d", "epsilon"))
    return Chapter("Through a crossing of two eigenvalues", render(
        "properties-crossing", tables=tables, figure=link, where=where, near=NEAR))  # fmt: skip


def jumps(paths: pl.DataFrame) -> pl.DataFrame:
    """A row a path: the largest `jump` near the crossing, infinite if a gradient is not finite."""
    near = pl.col("position").abs() <= NEAR
    both = near & near.shift(-1).over("id")
    return paths.filter(both).group_by("id", "method", "dtype", maintain_order=True).agg(
        _finite_max("moved").alias("jump"), _finite_max("exact_moved").alias("exact_jump")
    )  # fmt: skip


def _crossing_table(paths: pl.DataFrame) -> str:
    found = {row["id"]: row for row in jumps(paths).to_dicts()}
    body = []
    for (path_id, method), own in paths.group_by("id", "method", maintain_order=True):
        position = own["position"].to_numpy()
        component = own["crossing_ratio"].fill_nan(math.inf).to_numpy()
        near = (np.abs(position) <= NEAR) & (position != 0)
        cells = [component[np.abs(position).argmax()], float(np.median(component[near])),
                 float(component[position == 0][0])]  # fmt: skip
        jump = found[path_id]
        finite = int((own["gradient_finite"] == 1).sum())
        body.append([f"`{method}`", *map(scientific, cells), scientific(jump["jump"]),
                     scientific(jump["exact_jump"]), f"{finite} of {len(own)}"])  # fmt: skip
    return table(["method", "component far away", "near", "at the crossing", "jump", "exact jump",
                  "finite"], body)  # fmt: skip


def _crossing_picture(frames: Frames, paths: pl.DataFrame) -> str:
    dtypes, methods = values_of(paths, "dtype"), values_of(paths, "method")
    shown = methods if len(methods) <= SMALL_SET else methods[:SMALL_SET]
    picture, axes = panels(len(dtypes), width=6)
    for panel, dtype in zip(axes, dtypes, strict=True):
        for method in shown:
            own = paths.filter((pl.col("dtype") == dtype) & (pl.col("method") == method))
            component = own["crossing_ratio"].clip(-CLIPPED, CLIPPED)
            panel.plot(own["position"], component, label=method, **style(method))
        panel.set_xscale("symlog", linthresh=1e-10)
        panel.set_xticks([-1e-1, -1e-4, -1e-7, 0, 1e-7, 1e-4, 1e-1])
        panel.set_ylim(-CLIPPED * 1.1, CLIPPED * 1.1)
        panel.set_title(dtype, fontsize=9)
        panel.set_xlabel("half the relative distance of the two eigenvalues")
        panel.set_ylabel("component over the exact one")
    legend_below(picture, axes)
    link = save(picture, frames.folder, "through-a-crossing")
    return figure(link, f"Component of the gradient on the crossing pair, {', '.join(shown)}",
                  f"1 is right. Larger values are drawn at ±{CLIPPED:g}.")  # fmt: skip


def _invariances(frames: Frames) -> Chapter | None:
    """What must not change a gradient, and by how much it does."""
    frame = frames.invariances
    present = [name for name in CHANGES if name in frame.columns]
    if not present:
        return None
    worst = frame.group_by("method", maintain_order=True).agg(
        pl.len(), *(_finite_max(name) for name in present)
    )
    body = [
        [f"`{row['method']}`", *(scientific(row[name]) for name in present), str(row["len"])]
        for row in worst.to_dicts()
    ]
    headers = ["method", *(CHANGES[name] for name in present), "matrices"]
    where = setting(frame, ("loss", "spectrum", "d", "gap", "dtype", "epsilon"))
    return Chapter("What must not change a gradient", render(
        "properties-invariances", table=table(headers, body), where=where))  # fmt: skip


def scaled(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of one matrix at several scales, without ε, all else equal."""
    own = frame.filter((pl.col("spectrum") == "gap") & (pl.col("epsilon") == 0)
                       & (pl.col("dtype") == "float32"))  # fmt: skip
    sizes = values_of(own.filter(pl.col("scale") != 1), "d")
    return own.filter(pl.col("d").is_in(sizes) & (pl.col("d") > 2))


def _scale(frame: pl.DataFrame) -> Chapter | None:
    own = scaled(frame)
    parts = [
        {"loss": loss,
         "table": pivot(rows, ("contestant", "scale"), pl.col("error").median())}
        for (loss,), rows in own.group_by("loss", maintain_order=True)
        if len(values_of(rows, "scale")) > 2
    ]  # fmt: skip
    if not parts:
        return None
    where = setting(own, ("spectrum", "d", "gap", "dtype"))
    return Chapter("The scale of M", render("properties-scale", parts=parts, where=where))


def repeated(frame: pl.DataFrame, loss: str) -> pl.DataFrame:
    """Where eigenvalues repeat exactly and the loss depends on none of them by itself."""
    tied = (pl.col("spectrum") == "cluster") & (pl.col("gap") == 0)
    return frame.filter((pl.col("loss") == loss) & (tied | (pl.col("spectrum") == "laplacian")))


def _repeated(frame: pl.DataFrame) -> Chapter | None:
    """One well separated eigenvector, or a subspace, while other eigenvalues repeat exactly."""
    own = pl.concat([repeated(frame, loss) for loss in ("eigenvector", "subspace")])
    if own.is_empty():
        return None
    own = own.with_columns(what=pl.format("{}, {}", "spectrum", "loss"))
    body = pivot(own, ("contestant", "what"), pl.col("error").max(), corner="method")
    where = setting(own, ("d", "scale", "dtype"))
    return Chapter("Repeated eigenvalues elsewhere", render("properties-repeated", table=body,
                                                            where=where))  # fmt: skip


def _conditions(frame: pl.DataFrame) -> Chapter | None:
    """The condition number of a covariance, before and after it is whitened."""
    if "condition_after" not in frame.columns:
        return None
    own = frame.filter(
        pl.col("condition_after").is_not_null() & (pl.col("d") > 3) & (pl.col("scale") == 1)
        & (pl.col("loss") == "whitening") & (pl.col("dtype") == "float32")
        & (pl.col("epsilon") == situations.EPSILON) & pl.col("situation").is_not_null()
    )  # fmt: skip
    if own.is_empty():
        return None
    after = pl.col("condition_after").fill_nan(math.inf).median()
    before = own.group_by("situation").agg(pl.col("condition_number").median().alias("x"))
    found = {row["situation"]: row["x"] for row in before.to_dicts()}
    return Chapter("The condition number before and after whitening", render(
        "properties-conditions", table=pivot(own, ("contestant", "situation"), after),
        before=[(name, found[name]) for name in situations.present(own)]))  # fmt: skip


def _literal_loop(frame: pl.DataFrame) -> Chapter | None:
    """Algorithm 1 step by step beside its closed form, at the matrices that both have."""
    loop = frame.filter(pl.col("method") == "hybrid-loop")
    closed = frame.filter(pl.col("method") == "hybrid")
    both = loop.join(closed, on=[*POINT], how="inner", suffix="_closed", nulls_equal=True,
                     maintain_order="left")  # fmt: skip
    if both.is_empty():
        return None
    lost = both.filter(~pl.col("finite") & pl.col("finite_closed"))
    finite = both.filter(pl.col("finite") & pl.col("finite_closed"))
    apart = finite.filter((pl.col("error") - pl.col("error_closed")).abs()
                          > pl.col("error_closed") + RIGHT)  # fmt: skip
    keys = ["spectrum", "d", "gap", "scale", "dtype", "epsilon", "loss"]
    body = [
        [setting(rows, keys), str(rows["n"][0]) if "n" in rows.columns else str(len(rows)),
         "not finite" if not rows["finite"].all() else scientific(rows["error"].median()),  # type: ignore[arg-type]
         scientific(rows["error_closed"].median())]  # type: ignore[arg-type]
        for _, rows in pl.concat([lost, apart]).group_by(keys, maintain_order=True)
    ]  # fmt: skip
    headers = ["matrices of", "number", "hybrid-loop: median error", "hybrid: median error"]
    return Chapter("The literal loop of Algorithm 1 beside its closed form", render(
        "properties-loop", n=len(both), lost=len(lost), apart=len(apart), right=RIGHT,
        table=table(headers, body) if body else ""))  # fmt: skip


def _refused(frames: Frames) -> Chapter | None:
    """What methods cannot do, by reason; cases that make no sense are under *Skipped*."""
    done = {(case.method, case.loss) for case, _ in frames.records(StabilityCase, "measured")}
    found: dict[tuple[str, str], list[str]] = {}
    for case, record in frames.records(StabilityCase, "skipped"):
        if (case.method, case.loss) not in done:
            losses = found.setdefault((case.method, record.reason or ""), [])
            if case.loss not in losses:
                losses.append(case.loss)
    body = [
        [f"`{method}`", ", ".join(losses), reason] for (method, reason), losses in found.items()
    ]
    if not body:
        return None
    return Chapter("What some methods cannot do", table(["method", "losses", "reason"], body))
