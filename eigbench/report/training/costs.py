"""What a training step costs, and how far the times can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eigbench.report import paper
from eigbench.report.training import writing
from eigbench.report.training.cells import Cell, finite
from eigbench.report.training.naming import groups
from eigbench.report.training.tables import step, step_ratio


def sentences(cells: Sequence[Cell]) -> list[str]:
    """Each method's step over that of batch normalisation, beside the paper's."""
    words = []
    for group, own in groups(cells).items():
        ratios = finite(np.array([step_ratio(cells, c) for c in own if c.case.layer != "bn"]))
        if len(ratios):
            ends = dict.fromkeys(map(writing.times, (ratios.min(), ratios.max())))
            words.append(f"**{group}** {' to '.join(ends)}")
    if not words:
        return _alone(cells)
    standard = [cell for cell in cells if cell.case.layer == "bn" and len(cell.step_seconds)]
    times = [f"{cell.case.model}: {writing.milliseconds(step(cell))} ms" for cell in standard]
    printed = paper.STEP_MILLISECONDS
    return [
        f"A step costs, as a multiple of one with batch normalisation ({', '.join(times)}): "
        f"{'; '.join(words)}; the paper prints {printed['hybrid'] / printed['bn']:.2f} for PCA "
        f"with K = {paper.STEP_ITERATIONS} on a Titan Xp. {_trust(standard)}"
    ]


def _trust(standard: Sequence[Cell]) -> str:
    """How much the times of one and the same thing differ."""
    spreads = [
        float(cell.step_seconds.max() / cell.step_seconds.min())
        for cell in standard
        if len(cell.step_seconds) > 1 and cell.step_seconds.min() > 0
    ]
    if not spreads:
        return "Batch normalisation was timed in one trial, so that small differences show nothing."
    return (
        f"Batch normalisation's own trials differ by a factor of up to {max(spreads):.2f}: ratios "
        "as close to each other, or to 1, as that show nothing."
    )


def _alone(cells: Sequence[Cell]) -> list[str]:
    times = finite(np.array([step(cell) for cell in cells]))
    if not len(times):
        return []
    ends = dict.fromkeys(map(writing.milliseconds, (times.min(), times.max())))
    return [
        f"A step takes {' to '.join(ends)} ms; no batch normalisation was timed in this run to "
        "compare it with."
    ]
