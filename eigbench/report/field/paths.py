"""The gradient on a path of matrices on which two eigenvalues cross."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eigbench.report.field.measured import Measured, array
from eigbench.report.markdown import figure, scientific, table
from eigbench.report.plots import legend_below, panels, save, style
from eigbench.report.rows import median
from eigbench.runs.record import Record

NEAR = 1e-5
"""Within this of the crossing the exact gradient hardly moves, and no other should."""
CLIPPED = 3.0
"""Where larger components are drawn."""


def sections(measured: Measured, folder: Path) -> list[str]:
    """How far each method's gradient jumps at the crossing, and a picture of the component."""
    records = measured.paths
    if not records:
        return []
    parts = []
    for dtype in dict.fromkeys(_dtype(record) for record in records):
        chosen = [record for record in records if _dtype(record) == dtype]
        parts += [f"**{dtype}**:", _table(chosen)]
    case = records[0].case
    return [
        "## Through a crossing",
        f"One basis, one loss ({getattr(case, 'loss', '')}, d = {getattr(case, 'd', '')}), and two "
        "eigenvalues that approach each other, meet and part again. The exact gradient moves on "
        "smoothly. *Component* is that of the gradient on the crossing pair, as a multiple of the "
        "exact one; *jump* is the largest move between two neighbouring matrices within "
        f"{NEAR:g} of the crossing, as a multiple of the gradient's norm. At the crossing itself "
        "a decomposition returns any basis of the two, so a rule that depends on it jumps.",
        *parts,
        _picture(records, folder),
    ]


def jump(record: Record) -> float:
    """The largest move near the crossing, infinite where a gradient is not finite."""
    near = np.abs(array(record, "position")) <= NEAR
    moved = array(record, "moved")[near[1:] & near[:-1]]
    return float(np.where(np.isnan(moved), np.inf, moved).max())


def _table(records: Sequence[Record]) -> str:
    body = []
    for record in records:
        position, component = array(record, "position"), array(record, "crossing_ratio")
        near = np.abs(position) <= NEAR
        cells = [
            component[np.abs(position).argmax()],
            median(component[near & (position != 0)]),
            component[position == 0][0],
        ]
        finite = f"{int(array(record, 'gradient_finite').sum())} of {len(position)}"
        jumps = [jump(record), float(array(record, "exact_moved")[near[1:] & near[:-1]].max())]
        body.append([_method(record), *map(scientific, [*cells, *jumps]), finite])
    headers = ["method", "component far away", "near", "at the crossing", "jump", "exact", "finite"]
    return table(headers, body)


def _picture(records: Sequence[Record], folder: Path) -> str:
    dtypes = list(dict.fromkeys(_dtype(record) for record in records))
    picture, axes = panels(len(dtypes), width=6)
    for panel, dtype in zip(axes, dtypes, strict=True):
        for record in records:
            if _dtype(record) == dtype:
                position = array(record, "position")
                component = np.clip(array(record, "crossing_ratio"), -CLIPPED, CLIPPED)
                panel.plot(position, component, label=_method(record), **style(_method(record)))
        panel.set_xscale("symlog", linthresh=1e-10)
        panel.set_xticks([-1e-1, -1e-4, -1e-7, 0, 1e-7, 1e-4, 1e-1])
        panel.set_ylim(-CLIPPED * 1.1, CLIPPED * 1.1)
        panel.set_title(dtype, fontsize=9)
        panel.set_xlabel("half the relative distance of the two, no unit")
        panel.set_ylabel("component over the exact one, no unit")
    legend_below(picture, axes)
    link = save(picture, folder, "through-a-crossing")
    return figure(link, f"Component on the crossing pair; 1 is right. Cut off at ±{CLIPPED:g}.")


def _method(record: Record) -> str:
    return str(getattr(record.case, "method", ""))


def _dtype(record: Record) -> str:
    return str(getattr(record.case, "dtype", ""))
