"""Figures: one look for all, in colours that a colour-blind reader can tell apart."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from PIL import Image

from eigbench.methods.registry import recognised
from eigbench.report import copies
from eigbench.runs.store import own_folder, write_whole

Floats = NDArray[np.float64]

DOTS_PER_INCH = 110
OKABE_ITO = ("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#882255", "#222222")
"""M. Okabe and K. Ito, 2008, without yellow; a wine red of Tol (2021) in its place."""
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">", "h", "*", "d", "p", "H", "8")
LINES: tuple[Any, ...] = ("-", "--", "-", "-", ":", "-", "--", "-.")
"""The second curve of a pair that often coincides is dashed."""
VARIANTS: tuple[Any, ...] = ((0, (4, 1, 1, 1)), (0, (1, 1)), (0, (6, 2)), (0, (3, 1, 1, 1, 1, 1)))
REFERENCES: dict[str, dict[str, Any]] = {
    "bn": {"color": "#000000", "marker": "X", "linestyle": "-"},
    "torch.linalg.eigh": {"color": "#666666", "marker": (4, 1, 0), "linestyle": (0, (1, 1))},
    "none": {"color": "#AAAAAA", "marker": "_", "linestyle": (0, (1, 1))},
}
"""What methods are compared with."""

SMALL_SET = 6
"""Up to so many methods share a panel; of more each has a panel of its own."""


def style(method: str) -> dict[str, Any]:
    """Colour, marker and line of a method, the same in every figure.

    They follow from its place in the list of methods: nothing is declared. A contestant such as
    "pi, K = 100" looks like its method, dashed otherwise.
    """
    name, _, variant = method.partition(", K = ")
    if name in REFERENCES:
        return {**REFERENCES[name], "markersize": 5}
    names = [*recognised()]
    place = names.index(name) if name in names else len(names) + sum(map(ord, name))
    turn, colour = divmod(place, len(OKABE_ITO))
    again = turn + bool(variant)
    return {
        "color": OKABE_ITO[colour],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": VARIANTS[(again - 1) % len(VARIANTS)] if again else LINES[colour],
        "markersize": 5,
    }


def line(method: str) -> dict[str, Any]:
    """The same without a marker, for curves of many points."""
    return {**style(method), "marker": "none"}


def panels(
    count: int, width: float = 4.6, height: float = 3.8, columns: int = 3, *, same: bool = False
) -> tuple[Any, list[Any]]:
    """A figure with `count` panels, at most `columns` in a row; four make a square.

    `same`: they share their axes, whose labels stand at the rim alone.
    """
    across = 2 if count == 4 and columns == 3 else min(count, columns)
    down = -(-count // across)
    figure, axes = plt.subplots(
        down, across, figsize=(width * across, height * down), squeeze=False,
        layout="constrained", sharex=same, sharey=same,
    )  # fmt: skip
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
    if not entries:
        return
    longest = max(map(len, entries), default=0)
    columns = max(1, min(6, int(figure.get_figwidth() / (0.6 + 0.08 * longest))))  # inches
    lines = -(-len(entries) // columns)
    if lines > 2:  # a long legend takes no room from the panels
        figure.set_figheight(figure.get_figheight() + 0.2 * (lines - 2))  # inches
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=columns, fontsize=9
    )


def gap_axis(axes: Any, gaps: Iterable[float]) -> dict[float, float]:
    """A logarithmic axis of gaps, widest first, with a place for 0 at its end.

    Returns where each gap is drawn.
    """
    gaps = list(gaps)
    positive = sorted(gap for gap in gaps if gap > 0)
    places = dict(zip(positive, positive, strict=True))
    axes.set_xscale("log")
    axes.set_xlabel("relative eigengap")
    decades = [10.0**e for e in range(-16, 1) if positive and positive[0] <= 10.0**e]
    every = max(1, -(-len(decades) // 6))
    ticks = {place: f"$10^{{{round(math.log10(place))}}}$" for place in decades[::every]}
    if 0.0 in gaps:
        places[0.0] = (positive[0] if positive else 1.0) / 30
        ticks[places[0.0]] = "0"
        axes.axvline(places[0.0] * 5, color="0.8", linewidth=0.8)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.invert_xaxis()
    return places


def profile(axes: Any, errors: Floats, low: float, high: float, **look: Any) -> None:
    """A performance profile: the share, in %, of `errors` that are at most x, x from low to high.

    It ends below 100 where errors are not finite, or larger than `high` (E. D. Dolan and J. J.
    Moré, Benchmarking optimization software with performance profiles, 2002).
    """
    finite = np.sort(errors[errors <= high])  # without NaN and infinities
    heights = 100 * np.arange(1, len(finite) + 1) / max(len(errors), 1)
    x = np.concatenate([[low], np.clip(finite, low, None), [high]])
    y = np.concatenate([[0.0], heights, heights[-1:] if len(finite) else [0.0]])
    axes.step(x, y, where="post", **{**look, "marker": "none"})
    if axes.get_xscale() != "log":  # once a panel: a new scale makes all ticks anew
        axes.set(xscale="log", xlim=(low, high), ylim=(-3, 103))


def heat_map(
    axes: Any,
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
) -> Any:
    """Shares in % `(rows, columns)` in colour, NaN in grey, a text in each; returns the image."""
    shades = mpl.colormaps["cividis"].with_extremes(bad="white")
    image = axes.imshow(values, cmap=shades, vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    for i, j in np.ndindex(values.shape):
        dark = np.isfinite(values[i, j]) and values[i, j] < 50
        cell = axes.text(
            j, i, texts[i][j], ha="center", va="center", fontsize=7,
            color="white" if dark else "black",
        )  # fmt: skip
        # It is inside of the panel, and the layout of hundreds would take long.
        cell.set_in_layout(False)
    return image


def save(figure: Any, folder: Path, name: str) -> str:
    """Write `figures/NAME.png`; the same figure gives the same bytes. Returns the link.

    Inside of `copies.beside` it is written when that ends.
    """
    path = own_folder(folder, "figures") / f"{name}.png"
    copies.do(partial(_draw, figure, path))
    plt.close(figure)
    return f"figures/{name}.png"


def _draw(figure: Any, path: Path) -> None:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font has not
        figure.set_dpi(DOTS_PER_INCH)
        for axes in figure.axes:
            # Matplotlib lays out each of the eight small ticks of a decade, several times.
            axes.minorticks_off()
        # Not `savefig`, which draws everything once before, to find the layout, and throws it away.
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    whole = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    # With 256 colours a file is a third as large, and is written in half of the time.
    octree, none = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    whole.convert("RGB").quantize(256, method=octree, dither=none).save(picture, "PNG")
    write_whole(path, picture.getvalue())
