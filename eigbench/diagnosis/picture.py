"""The picture of a spectrum: eigenvalues, gaps, and the pair that is closest."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from eigbench.diagnosis.facts import PRECISIONS, Facts, epsilon

# Without pyplot: a notebook's own figures and its backend stay as they are.

_SPECTRUM, _NEGATIVE, _MARK, _FLOOR = "#0072B2", "#D55E00", "#882255", "0.55"
DOTS_PER_INCH = 110


def draw(some: Sequence[Facts]) -> Figure:
    """Two panels for each matrix that has a spectrum: |λ| by index, and the gaps of neighbours."""
    chosen = [facts for facts in some if facts.decomposed]
    figure = Figure(figsize=(8.4, 3.3 * max(1, len(chosen))), layout="constrained")
    axes = figure.subplots(max(1, len(chosen)), 2, squeeze=False)
    for row, facts in zip(axes, chosen, strict=False):
        _eigenvalues(row[0], facts)
        _gaps(row[1], facts)
    return figure


def to_png(figure: Figure) -> bytes:
    """The bytes of the picture, which depend on it alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _eigenvalues(axes: Any, facts: Facts) -> None:
    values = facts.eigenvalues
    index = np.arange(facts.n)
    magnitudes = np.abs(values)
    for chosen, colour, label in (
        (values > 0, _SPECTRUM, "positive"),
        (values < 0, _NEGATIVE, "negative, |λ|"),
    ):
        if chosen.any():
            axes.plot(index[chosen], magnitudes[chosen], "o", ms=4, color=colour, label=label)
    if (magnitudes > 0).any():
        axes.set_yscale("log")
    zero = magnitudes == 0
    if zero.any():
        bottom = min([magnitudes[~zero].min(initial=1.0), facts.floor("float64") or 1.0])
        label = "zero"
        axes.plot(index[zero], np.full(zero.sum(), bottom), "x", ms=5, color="0.2", label=label)
    _floors(axes, {p: facts.floor(p) for p in PRECISIONS}, magnitudes[magnitudes > 0])
    if facts.closest is not None:
        pair = facts.closest
        label = f"closest: {pair.lower}, {pair.lower + 1}"
        axes.axvspan(pair.lower - 0.3, pair.lower + 1.3, color=_MARK, alpha=0.18, label=label)
    axes.set_title(f"{facts.label}: eigenvalues", fontsize=10, parse_math=False)
    axes.set_xlabel("index, ascending")
    axes.set_ylabel("eigenvalue, in M's unit")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)


def _gaps(axes: Any, facts: Facts) -> None:
    axes.set_title(f"{facts.label}: gaps of neighbours", fontsize=10, parse_math=False)
    axes.set_xlabel("index of the lower one")
    axes.set_ylabel("gap divided by ‖M‖")
    if facts.n < 2 or facts.largest == 0:
        axes.text(0.5, 0.5, "no gap", ha="center", va="center", transform=axes.transAxes)
        return
    gaps = np.diff(facts.eigenvalues / facts.largest)
    index = np.arange(facts.n - 1)
    open_ = gaps > 0
    limits = {precision: epsilon(precision) for precision in PRECISIONS}
    axes.set_yscale("log")
    if open_.any():
        axes.plot(index[open_], gaps[open_], "o", ms=4, color=_SPECTRUM)
    if (~open_).any():
        bottom = np.full((~open_).sum(), limits["float64"] / 10)
        axes.plot(index[~open_], bottom, "x", ms=5, color=_MARK, label="equal: gap 0")
    if facts.narrowest is not None and facts.narrowest.share > 0:
        place = facts.narrowest
        axes.plot(place.lower, place.share, "o", ms=10, mfc="none", color=_MARK, label="narrowest")
    _floors(axes, limits, np.append(gaps[open_], limits["float32"]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)


def _floors(axes: Any, floors: dict[str, float], shown: Any) -> None:
    """The size of rounding errors in each precision, if it is near what is shown."""
    smallest = float(np.min(shown, initial=np.inf))
    for (precision, floor), style in zip(floors.items(), ("--", ":"), strict=True):
        if floor > smallest / 1e3:
            axes.axhline(floor, color=_FLOOR, ls=style, lw=1, label=f"rounding, {precision}")
