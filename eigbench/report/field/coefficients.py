"""The coefficient of one pair alone, as the ratio of its two eigenvalues goes to 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eigbench.report.field.measured import Measured, largest
from eigbench.report.markdown import axis_value, figure, scientific, table
from eigbench.report.plots import legend_below, panels, save, style
from eigbench.report.rows import Row, median, pooled, values_of, where

PUBLISHED = (
    "Published errors of the coefficient (Song et al., ICCV 2021) at ratios 0.9, 0.99 and 0.999: "
    "Taylor with K = 100 2e-4, 36, 904; Padé 3e-16, 8e-13, 3e-10, absolute. Here errors are "
    "relative to the exact coefficient, and each method has its default parameters."
)


def sections(measured: Measured, folder: Path) -> list[str]:
    """A table of errors by q, and a picture."""
    rows = where(measured.rows, d=2, spectrum="gap", loss="closing-eigenvector", scale=1.0)
    gaps = values_of(rows, "gap")
    if len(gaps) < 3:
        return []
    body = [
        [method, *(_error(where(rows, method=method, gap=gap)) for gap in gaps)]
        for method in values_of(rows, "method")
    ]
    floors = [where(rows, gap=gap) for gap in gaps]
    body.append(["*rounding of M*", *(scientific(_floor(some)) for some in floors)])
    headers = ["method \\ 1 − q", *map(axis_value, gaps)]
    return [
        "## The coefficient of one pair",
        f"Two eigenvalues of ratio q ({rows[0].case.dtype}), and a loss that sees one of the two "
        "eigenvectors: its gradient is the coefficient that takes the place of 1/(λi − λj), and "
        "nothing else. Median relative error; 1 means that the coefficient is as good as 0.",
        table(headers, body),
        PUBLISHED,
        _picture(rows, gaps, folder),
    ]


def _error(rows: Sequence[Row]) -> str:
    return scientific(median(pooled(rows, lambda row: row.error))) if rows else "–"


def _floor(rows: Sequence[Row]) -> float:
    return median(pooled(rows, lambda row: row.metric("rounding_floor")))


def _picture(rows: Sequence[Row], gaps: Sequence[float], folder: Path) -> str:
    picture, axes = panels(1, width=8)
    (panel,) = axes
    for method in values_of(rows, "method"):
        errors = [largest(where(rows, method=method, gap=gap), lambda r: r.error) for gap in gaps]
        panel.plot(gaps, [max(error, 1e-17) for error in errors], label=method, **style(method))
    panel.set(xscale="log", yscale="log")
    panel.invert_xaxis()
    panel.set_xlabel("1 − q, no unit")
    panel.set_ylabel("largest relative error, no unit")
    legend_below(picture, axes)
    link = save(picture, folder, "coefficient-by-ratio")
    return figure(link, "Largest error of the coefficient as two eigenvalues approach each other.")
