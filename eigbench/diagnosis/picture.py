"""The spectra that were measured, as a figure: values, and gaps of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eigbench.diagnosis.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARK, _POSITIVE, _NEGATIVE = "#882255", "#0072B2", "#D55E00"


def spectra(shown: Sequence[Spectrum]) -> Figure:
    """A row for each spectrum: its values, and the gaps of neighbours by ‖M‖."""
    # Late, and without pyplot: a notebook's own figures and its backend stay as they are.
    from matplotlib.figure import Figure

    rows = max(1, len(shown))
    figure = Figure(figsize=(8.4, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    if not shown:
        for panel in axes.flat:
            panel.text(0.5, 0.5, "no spectrum", ha="center", transform=panel.transAxes)
    for (left, right), spectrum in zip(axes, shown, strict=False):
        _draw_values(left, spectrum)
        _draw_gaps(right, spectrum)
    return figure


def _draw_values(axes: Any, one: Spectrum) -> None:
    index, magnitudes = np.arange(one.size), np.abs(one.values)
    for chosen, colour, label in (
        (one.values > 0, _POSITIVE, "positive"),
        (one.values < 0, _NEGATIVE, "negative, magnitude"),
    ):
        if chosen.any():
            axes.plot(index[chosen], magnitudes[chosen], "o", ms=4, color=colour, label=label)
    _finish(axes, one.floor, magnitudes, index[magnitudes == 0], "zero")
    if one.narrowest is not None:
        lower = one.narrowest.lower
        label = f"closest: {lower}, {lower + 1}"
        axes.axvspan(lower - 0.3, lower + 1.3, color=_MARK, alpha=0.18, label=label)
    what = "singular values" if one.svd else "eigenvalues"
    axes.set_title(f"{one.label}: {what}", fontsize=10, parse_math=False)
    axes.set_xlabel("index, ascending")
    axes.set_ylabel(f"{what}, in M's unit")
    axes.legend(fontsize=8)


def _draw_gaps(axes: Any, one: Spectrum) -> None:
    axes.set_title(f"{one.label}: gaps of neighbours", fontsize=10, parse_math=False)
    axes.set_xlabel("index of the lower one")
    axes.set_ylabel("gap divided by the norm")
    if one.narrowest is None or one.norm == 0:
        axes.text(0.5, 0.5, "no gap", ha="center", va="center", transform=axes.transAxes)
        return
    gaps, index = np.diff(one.values / one.norm), np.arange(one.size - 1)
    wide, pair = gaps > 0, one.narrowest
    axes.plot(index[wide], gaps[wide], "o", ms=4, color=_POSITIVE)
    if pair.share > 0:
        axes.plot(pair.lower, pair.share, "o", ms=10, mfc="none", color=_MARK, label="narrowest")
    _finish(axes, one.floor / one.norm, gaps, index[~wide], "equal: gap 0")
    axes.legend(fontsize=8)


def _finish(axes: Any, floor: float, shown: Any, zeros: Any, label: str) -> None:
    """Zeros at the foot of a logarithmic axis, and the rounding error of the dtype of M."""
    positive = shown[shown > 0]
    smallest = positive.min() if len(positive) else 0.0
    axes.set_yscale("log")
    if len(zeros):
        foot = min(smallest or 1.0, floor or 1.0) / 10
        axes.plot(zeros, np.full(len(zeros), foot), "x", ms=5, color=_MARK, label=label)
    if floor > 0:
        axes.axhline(floor, color="0.55", ls="--", lw=1, label="zero to rounding")
    axes.xaxis.get_major_locator().set_params(integer=True)
