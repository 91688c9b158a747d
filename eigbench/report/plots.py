"""Figures: one look for all, colours that a colour-blind reader can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402: the backend comes first

# Okabe and Ito (2008), told apart with every common colour vision deficiency; a marker each too.
STYLES = {
    "eigh": ("#0072B2", "o", "-"),
    "svd": ("#56B4E9", "s", "--"),
    "pi": ("#D55E00", "^", "-"),
    "hybrid": ("#009E73", "D", "-"),
    "hybrid-loop": ("#CC79A7", "v", ":"),
}
_OTHERS = (("#E69F00", "P", "-."), ("#000000", "X", "-."), ("#999999", "*", "-."))
DOTS_PER_INCH = 110


def style(method: str) -> dict[str, Any]:
    """Colour, marker and line of a method, the same in every figure."""
    others = _OTHERS[sum(map(ord, method)) % len(_OTHERS)]
    colour, marker, line = STYLES.get(method, others)
    return {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}


def panels(count: int, width: float = 4.6, height: float = 3.8) -> tuple[Any, list[Any]]:
    """A figure with `count` panels side by side, at most three in a row."""
    columns = min(count, 3)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(width * columns, height * lines), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for empty in flat[count:]:
        empty.set_visible(False)
    return figure, flat[:count]


def gap_axis(axes: Any, gaps: list[float]) -> dict[float, float]:
    """A logarithmic axis of gaps with a place for 0 at its end: the place of each gap."""
    positive = sorted(gap for gap in gaps if gap > 0)
    places = dict(zip(positive, positive, strict=True))
    axes.set_xscale("log")
    axes.set_xlabel("relative eigengap, no unit")
    if 0.0 in gaps:
        zero = (positive[0] if positive else 1.0) / 100
        places[0.0] = zero
        axes.axvline(zero * 4, color="0.8", linewidth=0.8)
        axes.annotate(
            "gap = 0", (zero, 0), (0, 4), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", fontsize=7, color="0.4",
        )  # fmt: skip
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
