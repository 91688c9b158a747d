"""The pictures of a stability run: norm and error against the gap, success as a heat map, K."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from eigbench.report.markdown import axis_value, figure
from eigbench.report.plots import gap_axis, legend_below, panels, save, style
from eigbench.report.rows import (
    Row,
    median,
    median_error,
    pooled,
    success_rate,
    values_of,
    where,
)
from eigbench.report.tables import balanced

CEILING = 1e3
"""Where errors that are not finite, or larger, are drawn."""

LEAST_ERROR = 1e-8
"""The lower end of the error axis, below float32's rounding."""


def sections(
    rows: Sequence[Row], fair: Sequence[Row], by_loss: Sequence[Row], folder: Path
) -> list[str]:
    """Every figure that the rows have data for: of all, comparable, comparable within a loss."""
    gapped = [row for row in by_loss if row.case.spectrum == "gap" and row.case.scale == 1]
    several = len([gap for gap in values_of(gapped, "gap") if gap is not None]) > 1
    parts = [*_error(gapped, folder), *_norm(gapped, folder)] if several else []
    parts += _success(fair, folder)
    parts += _iterations(rows, folder)
    return ["## Figures", *parts] if parts else []


def _error(rows: Sequence[Row], folder: Path) -> list[str]:
    """Relative error against the gap, a panel a loss."""
    losses = values_of(rows, "loss")
    picture, axes = panels(len(losses))
    for panel, loss in zip(axes, losses, strict=True):
        chosen, words = _one_setting(where(rows, loss=loss))
        places = gap_axis(panel, values_of(chosen, "gap"))
        for method in values_of(chosen, "method"):
            own = where(chosen, method=method)
            _curve(panel, own, places, lambda some: min(median_error(some), CEILING), method)
        _curve(panel, chosen, places, _floor, None)
        panel.set_yscale("log")
        panel.set_ylim(LEAST_ERROR, CEILING * 100)
        panel.axhline(CEILING, color="0.8", linewidth=0.8)
        panel.annotate("not finite, or larger", (0.01, CEILING), (0, 3),
                       xycoords=("axes fraction", "data"), textcoords="offset points",
                       fontsize=7, color="0.4")  # fmt: skip
        panel.set_title(f"{loss}\n{words}", fontsize=9)
        panel.set_ylabel("relative error ‖G − G*‖/‖G*‖, no unit")
    legend_below(picture, axes)
    link = save(picture, folder, "error-by-gap")
    return [figure(link, "Median relative error of the gradient as one eigengap closes.")]


def _norm(rows: Sequence[Row], folder: Path) -> list[str]:
    """Gradient norm against the gap, with the exact norm and the bound."""
    losses = [loss for loss in ("whitening", "closing-eigenvector") if where(rows, loss=loss)]
    if not losses:
        return []
    picture, axes = panels(len(losses))
    for panel, loss in zip(axes, losses, strict=True):
        chosen, words = _one_setting(where(rows, loss=loss))
        places = gap_axis(panel, values_of(chosen, "gap"))
        for method in values_of(chosen, "method"):
            _curve(panel, where(chosen, method=method), places, _median_of("gradient_norm"), method)
        hybrid = where(chosen, method="hybrid") or chosen
        _curve(panel, hybrid, places, _median_of("exact_gradient_norm"), "exact", color="black",
               linestyle="-", linewidth=3, alpha=0.25)  # fmt: skip
        _curve(panel, hybrid, places, _median_of("gradient_bound"), "bound, Eq. 12", color="0.5",
               linestyle=(0, (1, 1)))  # fmt: skip
        panel.set_yscale("log")
        panel.set_title(f"{loss}\n{words}", fontsize=9)
        panel.set_ylabel("gradient norm ‖∂L/∂M‖ (loss per unit of M)")
    legend_below(picture, axes)
    link = save(picture, folder, "norm-by-gap")
    caption = "Median norm of the gradient as one eigengap closes; a missing point is not finite."
    return [figure(link, caption)]


def _success(rows: Sequence[Row], folder: Path) -> list[str]:
    """Success as a heat map of d × gap, or d × spectrum, a panel a method."""
    if not rows:
        return []
    gapped = [row for row in where(rows, spectrum="gap") if row.case.gap is not None]
    by_gap = len(values_of(gapped, "gap")) > 1
    chosen = (balanced(gapped, "gap") or gapped) if by_gap else list(rows)
    # One loss, so that every cell of the map is the same question.
    chosen = where(chosen, loss="whitening") or chosen
    across = "gap" if by_gap else "spectrum"
    methods, sizes, columns = (values_of(chosen, axis) for axis in ("method", "d", across))
    picture, axes = panels(len(methods), width=4.2, height=0.6 + 0.42 * max(len(sizes), 3))
    for panel, method in zip(axes, methods, strict=True):
        own = where(chosen, method=method)
        rates = np.array(
            [[success_rate(where(own, d=d, **{across: x})) for x in columns] for d in sizes]
        )
        image = panel.imshow(rates, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        panel.set_xticks(range(len(columns)), [axis_value(x) for x in columns], rotation=45)
        panel.set_yticks(range(len(sizes)), [str(d) for d in sizes])
        panel.set_xlabel("relative eigengap, no unit" if by_gap else "spectrum")
        panel.set_ylabel("matrix size d, rows")
        panel.set_title(method, fontsize=9)
        for (row, column), rate in np.ndenumerate(rates):
            if not np.isnan(rate):
                colour = "black" if rate > 0.6 else "white"
                panel.text(column, row, f"{100 * rate:.0f}", ha="center", va="center",
                           fontsize=7, color=colour)  # fmt: skip
    picture.colorbar(image, ax=axes, label="success rate, share of seeds")
    link = save(picture, folder, "success")
    words = f"loss {', '.join(values_of(chosen, 'loss'))}; {', '.join(values_of(chosen, 'dtype'))}"
    caption = f"Success rate (numbers in %) by matrix size and {across}; {words}."
    return [figure(link, caption)]


def _iterations(rows: Sequence[Row], folder: Path) -> list[str]:
    """Error of the series methods against K, a line a gap."""
    chosen = [
        row
        for row in where(rows, spectrum="gap", loss="whitening", dtype="float64")
        if row.case.iterations is not None and row.case.parameters.get("seed", 0) == 0
    ]
    methods = [m for m in values_of(chosen, "method") if _widest(where(chosen, method=m))]
    if not methods:
        return []
    picture, axes = panels(len(methods))
    for panel, method in zip(axes, methods, strict=True):
        own = where(chosen, method=method)
        d = _widest(own)
        gaps = [g for g in values_of(own, "gap") if _many(where(own, d=d, gap=g))]
        for colour, gap in zip(plt.cm.cividis(np.linspace(0, 0.9, len(gaps))), gaps, strict=True):
            some = where(own, d=d, gap=gap)
            K = values_of(some, "iterations")
            errors = [median_error(where(some, iterations=k)) for k in K]
            panel.plot(K, errors, "o-", color=colour, markersize=4, label=f"gap {axis_value(gap)}")
        panel.set(xscale="log", yscale="log", xlabel="K (iterations)")
        panel.set_ylabel("relative error ‖G − G*‖/‖G*‖, no unit")
        panel.set_title(f"{method}: whitening, d = {d}, float64", fontsize=9)
        panel.legend(fontsize=7)
    link = save(picture, folder, "error-by-iterations")
    return [figure(link, "Median relative error against the number of iterations K.")]


def _curve(
    panel: Any,
    rows: Sequence[Row],
    places: dict[float, float],
    value: Callable[[Sequence[Row]], float],
    label: str | None,
    **look: Any,
) -> None:
    """One line over the gaps; the point at gap 0 stands apart from it."""
    known = {gap: value(where(rows, gap=gap)) for gap in values_of(rows, "gap")}
    if label is None:
        look = {"color": "0.4", "linestyle": (0, (1, 1)), "linewidth": 1.2}
        label = "rounding of M alone"
    elif not look:
        look = style(label)
    open_gaps = [gap for gap in known if gap > 0]
    panel.plot([places[gap] for gap in open_gaps], [known[gap] for gap in open_gaps],
               label=label, **look)  # fmt: skip
    if 0.0 in known and np.isfinite(known[0.0]):
        alone = {**look, "linestyle": "none", "marker": look.get("marker", "_")}
        panel.plot([places[0.0]], [known[0.0]], **alone)


def _one_setting(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """One d and one precision, so that a curve is a curve; the d nearest 16, float32 first."""
    sizes, dtypes = values_of(rows, "d"), values_of(rows, "dtype")
    d = min(sizes, key=lambda size: abs(size - 16))
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    epsilons = values_of(where(rows, d=d, dtype=dtype), "epsilon")
    epsilon = 1e-4 if 1e-4 in epsilons else epsilons[0]
    chosen = where(rows, d=d, dtype=dtype, epsilon=epsilon)
    return chosen, f"d = {d}, {dtype}, ε = {axis_value(epsilon)}"


def _median_of(metric: str) -> Callable[[Sequence[Row]], float]:
    def value(rows: Sequence[Row]) -> float:
        middle = median(pooled(rows, lambda row: row.metric(metric)))
        return middle if np.isfinite(middle) else float("nan")

    return value


def _floor(rows: Sequence[Row]) -> float:
    return median(pooled(rows, lambda row: row.metric("rounding_floor")))


def _many(rows: Sequence[Row]) -> bool:
    return len(values_of(rows, "iterations")) > 2


def _widest(rows: Sequence[Row]) -> int | None:
    """The d at which the most values of K were measured, if there are more than two."""
    sizes = values_of(rows, "d")
    best = max(sizes, key=lambda d: len(values_of(where(rows, d=d), "iterations")), default=None)
    return best if best is not None and _many(where(rows, d=best)) else None
