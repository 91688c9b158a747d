"""Figures: one look for all, colours that a colour-blind reader can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

# Okabe and Ito (2008), a wine red of Tol (2021), and colours that were searched for beside them:
# any two can be told apart by protanopic and deuteranopic readers; a marker each too. "bn" is batch
# normalisation, which layers are compared with, as operations are with "torch.linalg.eigh" and
# layers also with "none".
STYLES: dict[str, tuple[str, Any, Any]] = {
    "eigh": ("#0072B2", "o", "-"),
    "svd": ("#56B4E9", "s", "--"),
    "pi": ("#D55E00", "^", "-"),
    "hybrid": ("#009E73", "D", "-"),
    "hybrid-loop": ("#CC79A7", "v", ":"),
    "spectral": ("#E69F00", "P", "-"),
    "svd-released": ("#882255", "<", "--"),
    # The families of the field: series, cut-offs, Lorentzians, roots without eigenpairs, parts.
    "taylor": ("#22CC44", ">", "-"),
    "pade": ("#004422", "h", ":"),
    "clip": ("#AA8844", "1", "-"),
    "trunc": ("#CCCC22", "2", "--"),
    "topn": ("#446622", "3", ":"),
    "lorentzian": ("#222266", "*", "-."),
    "lorentzian-relative": ("#8888EE", "4", (0, (3, 1, 1, 1))),
    "svd-newton": ("#CC2244", "d", "--"),
    "newton-schulz": ("#EE22CC", "H", "-"),
    "mpa-lyapunov": ("#660000", "8", "-."),
    "mtp-lyapunov": ("#CC0000", "p", "--"),
    "cholesky": ("#4400CC", "x", "-"),
    "implicit": ("#00CCCC", "+", "-."),
    "subspace": ("#880088", "|", ":"),
    "bn": ("#000000", "X", "-"),
    "torch.linalg.eigh": ("#666666", (4, 1, 0), (0, (1, 1))),
    "none": ("#AAAAAA", "_", (0, (1, 1))),
}
_OTHERS = (("#0000AA", (3, 1, 0), "-."), ("#66CC88", (5, 2, 0), "-."), ("#CCCC66", (6, 2, 0), "-."))
DOTS_PER_INCH = 110
USUAL_LINES = 2
"""So many lines of a legend fit under the panels as they are."""


def style(method: str) -> dict[str, Any]:
    """Colour, marker and line of a method, the same in every figure."""
    others = _OTHERS[sum(map(ord, method)) % len(_OTHERS)]
    colour, marker, line = STYLES.get(method, others)
    return {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}


def panels(count: int, width: float = 4.6, height: float = 3.8) -> tuple[Any, list[Any]]:
    """A figure with `count` panels, at most three in a row; four make a square."""
    columns = 2 if count == 4 else min(count, 3)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(width * columns, height * lines),
        squeeze=False,
        layout="constrained",
    )
    flat = list(axes.flat)
    for empty in flat[count:]:
        empty.set_visible(False)
    return figure, flat[:count]


def legend_below(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all panels, outside of them, where it covers nothing."""
    entries: dict[str, Any] = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    longest = max(map(len, entries), default=0)
    columns = max(1, min(6, int(figure.get_figwidth() / (0.6 + 0.08 * longest))))  # inches
    lines = -(-len(entries) // columns)
    if lines > USUAL_LINES:  # a long legend takes no room from the panels
        figure.set_figheight(figure.get_figheight() + 0.2 * (lines - USUAL_LINES))  # inches
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=columns, fontsize=9
    )


def gap_axis(axes: Any, gaps: list[float]) -> dict[float, float]:
    """A logarithmic axis of gaps, widest first, with a place for 0 at its end.

    Returns where each gap is drawn.
    """
    positive = sorted(gap for gap in gaps if gap > 0)
    places = dict(zip(positive, positive, strict=True))
    axes.set_xscale("log")
    axes.set_xlabel("relative eigengap, no unit")
    decades = [10.0**e for e in range(-16, 1) if positive and positive[0] <= 10.0**e]
    every = max(1, -(-len(decades) // 6))
    ticks = {place: f"$10^{{{round(math.log10(place))}}}$" for place in decades[::every]}
    if 0.0 in gaps:
        places[0.0] = (positive[0] if positive else 1.0) / 30
        ticks[places[0.0]] = "0"
        axes.axvline(places[0.0] * 5, color="0.8", linewidth=0.8)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.invert_xaxis()
    return places


def save(figure: Any, folder: Path, name: str) -> str:
    """Write `figures/NAME.png`; the same figure gives the same bytes. Returns the link."""
    path = folder / "figures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the program's name and version the bytes depend on the picture alone.
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    plt.close(figure)
    return f"figures/{name}.png"
