"""Table 1 and Figure 1 of the paper, computed, beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from eigbench.kinds.series import COEFFICIENT_TERMS, FIGURE_1_POWERS, SeriesCase
from eigbench.report.markdown import NOTHING, axis_value, figure, percent, scientific, table
from eigbench.report.paper import TABLE_1
from eigbench.report.plots import save
from eigbench.runs.record import Record


def verdict(records: Sequence[Record]) -> list[str]:
    """One sentence on Table 1."""
    found = _least_terms(records)
    compared = {ratio: found[ratio] for ratio in TABLE_1 if ratio in found}
    if not compared:
        return []
    same = sum(TABLE_1[ratio] == terms for ratio, terms in compared.items())
    return [
        f"**Table 1 of the paper**: {same} of {len(compared)} entries come out as printed, with "
        "the threshold 0.05 of Eq. 14 (the table's header says ln 0.01, which gives others)."
    ]


def sections(records: Sequence[Record], folder: Path) -> list[str]:
    """Table 1, the error that truncation leaves, and Figure 1."""
    measured = [record for record in records if record.status == "measured"]
    if not measured:
        return []
    return [
        "## Table 1: how many terms the series needs (Eq. 14)",
        "The least k with qᵏ ≤ 0.05, counted by multiplying in exact arithmetic.",
        _table_1(measured),
        "What K terms leave out of the coefficient 1/(λi − λj), as a share of it, in the "
        "library's own arithmetic. At the paper's choice, q = 0.85 and K = 19, it is qᴷ = "
        f"{_share_at(measured, 0.85, 19)}.",
        _shares(measured),
        _figure_1(measured, folder),
    ]


def _least_terms(records: Sequence[Record]) -> dict[float, int]:
    return {
        record.case.ratio: int(record.values("least_terms")[0])
        for record in records
        if isinstance(record.case, SeriesCase) and record.values("least_terms")
    }


def _by_ratio(records: Sequence[Record]) -> dict[float, Record]:
    """One record a ratio, float64 where there is one."""
    chosen: dict[float, Record] = {}
    for record in records:
        case = record.case
        if isinstance(case, SeriesCase) and (case.ratio not in chosen or case.dtype == "float64"):
            chosen[case.ratio] = record
    return dict(sorted(chosen.items()))


def _table_1(records: Sequence[Record]) -> str:
    body = []
    for ratio, terms in sorted(_least_terms(records).items()):
        printed = TABLE_1.get(ratio)
        same = NOTHING if printed is None else ("yes" if printed == terms else "**no**")
        body.append([axis_value(ratio), str(terms), str(printed or NOTHING), same])
    return table(["q = λi/λ1", "k, counted", "k, printed", "equal"], body)


def _shares(records: Sequence[Record]) -> str:
    body = [
        [axis_value(ratio), *(scientific(share) for share in record.values("coefficient_error"))]
        for ratio, record in _by_ratio(records).items()
    ]
    return table(["q \\ K", *map(str, COEFFICIENT_TERMS)], body)


def _share_at(records: Sequence[Record], ratio: float, terms: int) -> str:
    record = _by_ratio(records).get(ratio)
    if record is None:
        return "not measured here"
    return percent(record.values("coefficient_error")[COEFFICIENT_TERMS.index(terms)])


def _figure_1(records: Sequence[Record], folder: Path) -> str:
    """qᵏ over q and k, as a surface and as its contours."""
    chosen = _by_ratio(records)
    if len(chosen) < 2:
        return "Figure 1 needs two ratios or more; this run has one."
    ratios = np.array(list(chosen))
    powers = np.array([record.values("powers") for record in chosen.values()])
    k, q = np.meshgrid(FIGURE_1_POWERS, ratios)
    picture = plt.figure(figsize=(9.6, 4.2), layout="constrained")
    surface = picture.add_subplot(1, 2, 1, projection="3d")
    surface.plot_surface(q, k, powers, cmap="cividis", edgecolor="0.3", linewidth=0.2)
    surface.set(xlabel="q = λi/λ1", ylabel="k (iterations)", zlabel="qᵏ")
    surface.set_title("(a) qᵏ")
    contour = picture.add_subplot(1, 2, 2)
    lines = contour.contour(
        k, q, powers, levels=[0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8], cmap="cividis"
    )
    contour.clabel(lines, fmt="%g", fontsize=7)
    contour.plot(*_table_points(chosen), "k.", label="least k with qᵏ ≤ 0.05")
    contour.set(
        xlabel="k (iterations)", ylabel="q = λi/λ1, no unit", xlim=(1, max(FIGURE_1_POWERS))
    )
    contour.set_title("(b) contours of qᵏ")
    contour.legend(fontsize=8, loc="lower right")
    link = save(picture, folder, "figure-1")
    return figure(link, "Figure 1 of the paper, computed: qᵏ over the ratio q and the power k.")


def _table_points(chosen: dict[float, Record]) -> tuple[list[float], list[float]]:
    terms = {ratio: record.values("least_terms")[0] for ratio, record in chosen.items()}
    shown = {ratio: k for ratio, k in terms.items() if k <= max(FIGURE_1_POWERS)}
    return list(shown.values()), list(shown)
