"""The verdict on trainings: sentences that the numbers produce."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from eigbench.architectures import STEM_CHANNELS
from eigbench.report import paper
from eigbench.report.markdown import scientific
from eigbench.report.training import costs, returned, survival, writing
from eigbench.report.training.cells import Cell, Floats, finite
from eigbench.report.training.differences import Comparison
from eigbench.report.training.naming import condition, conditions, groups, name, varied
from eigbench.report.training.spikes import FACTOR, NONE, UNJUDGED, Spikes
from eigbench.report.training.tables import against_papers_ratio

CLAUSES = 6
"""A sentence that lists things lists no more than so many."""

STEM_INPUTS = 27
"""3 colours × 3 × 3 pixels: inputs of the first convolution, and so the rank of its outputs."""


def verdict(
    compare: str, cells: Sequence[Cell], found: Sequence[Comparison], *, papers: bool
) -> list[str]:
    """Who survives, with which error, whose gradients spike, what it costs, and the paper."""
    started = [cell for cell in cells if cell.trials]
    if not started:
        return []
    return [
        *survival.sentences(started),
        *_errors(started),
        *_differences(started, found),
        *_not_learned(started),
        *_spikes(started),
        *costs.sentences(started),
        *returned.sentences(compare, started, papers=papers),
        *_neighbours(started),
    ]


def _errors(cells: Sequence[Cell]) -> list[str]:
    axes = varied(cells)
    finished = [cell for cell in cells if cell.finished]
    if not finished:
        return ["No trial finished, so there is no test error."]
    known = [cell for cell in finished if np.isfinite(cell.errors).all()]
    words = []
    for group, own in groups(known).items():
        best = min(own, key=lambda cell: float(cell.errors.mean()))
        place = condition(best.case, axes)
        at = f" at {place}" if place and len(own) > 1 else ""
        words.append(f"**{group}** {writing.errors(best.errors)} %{at} "
                     f"({writing.trials(len(best.errors))})")  # fmt: skip
    if not words:
        return ["No finished trial has a finite test error."]
    if len(known) == len(words):
        return [f"Mean test error: {'; '.join(words)}."]
    return [f"Least mean test error of a method's cells, low by chance too where they are many: "
            f"{'; '.join(words)}."]  # fmt: skip


def _differences(cells: Sequence[Cell], found: Sequence[Comparison]) -> list[str]:
    tested = [c for c in found if c.difference is not None]
    if not tested:
        few = "too few trials finished to test one" if found else "there is nothing to compare"
        return [f"No difference in test error is shown: {few}."]
    shown = _shown(cells, [c for c in tested if c.shown])
    least, most = _span([len(c.cell.finished) for c in tested])
    trials = (
        f"{least} to {most} trials a cell" if least != most else f"{writing.trials(most)} a cell"
    )
    test = f"Welch's t test, Holm's correction for {len(tested)} comparisons, {trials}"
    if not shown:
        return [f"No difference in test error is shown between any two of the cells ({test})."]
    more = f"; {len(shown) - CLAUSES} more are in the table" if len(shown) > CLAUSES else ""
    return [f"Test error is {'; '.join(shown[:CLAUSES])}{more}{_not_shown(tested)} ({test})."]


def _not_shown(tested: Sequence[Comparison]) -> str:
    """How many comparisons show nothing, and for which pairs of methods none does."""
    rest = sum(not c.shown for c in tested)
    if not rest:
        return ""
    pairs = {(c.cell.case.method, c.other.case.method): False for c in tested}
    for c in tested:
        pairs[c.cell.case.method, c.other.case.method] |= c.shown
    never = [
        f"{one} and {other}" for (one, other), shown in pairs.items() if not shown and one != other
    ]
    among = f", and none at all between {', '.join(never)}" if never else ""
    others = f"{rest} comparisons" if rest > 1 else "comparison"
    return f". In the other {others} no difference is shown{among}"


def _shown(cells: Sequence[Cell], found: Sequence[Comparison]) -> list[str]:
    """The differences that are shown, those of the same methods in one clause."""
    axes = varied(cells)
    clauses: dict[tuple[str, str, str], list[Comparison]] = {}
    for c in found:
        along = c.cell.case.method == c.other.case.method
        other = name(c.other.case, axes) if along else c.other.case.method
        clauses.setdefault((c.cell.case.method, c.answer, other), []).append(c)
    words = []
    for (method, answer, other), own in clauses.items():
        among = len({id(cell) for cell in cells if cell.case.method == method})
        where = conditions([c.cell for c in own], axes, among)
        points = sorted(100 * abs(c.difference.value) for c in own if c.difference)
        by = dict.fromkeys(f"{point:.2f}" for point in (points[0], points[-1]))
        words.append(
            f"{answer} for **{method}**{where} than for {other}, by {' to '.join(by)} points"
        )
    return words


def _span(counts: Sequence[int]) -> tuple[int, int]:
    return min(counts), max(counts)


def _not_learned(cells: Sequence[Cell]) -> list[str]:
    axes = varied(cells)
    words = []
    for cell in cells:
        count = sum(not trial.learned for trial in cell.finished)
        if count:
            words.append(f"{name(cell.case, axes)} ({count} of {len(cell.finished)})")
    if not words:
        return []
    more = f"; and {len(words) - CLAUSES} cells more" if len(words) > CLAUSES else ""
    return ["Finished is not the same as learned: the training loss of these ended no lower than "
            f"it began: {'; '.join(words[:CLAUSES])}{more}."]  # fmt: skip


def _spikes(cells: Sequence[Cell]) -> list[str]:
    layer, net = (_spiking(cells, metric) for metric in ("layer_gradient_norm", "gradient_norm"))
    return [f"Gradient spikes, over {FACTOR} × the running median: through the layer, {layer}; of "
            f"the whole net, {net}."]  # fmt: skip


def _spiking(cells: Sequence[Cell], metric: str) -> str:
    """Which methods have spikes, which have none, and of which no step was judged."""
    words: list[str] = []
    without: list[str] = []
    unknown: list[str] = []
    for group, own in groups(cells).items():
        total = reduce(Spikes.__add__, (cell.spikes(metric) for cell in own), NONE)
        if total.count:
            words.append(f"**{group}** {total.per_thousand:.2g} per 1000 steps (largest "
                         f"{_times(total.largest)})")  # fmt: skip
        else:
            (without if total.judged else unknown).append(group)
    if without:
        everywhere = not words and not unknown
        words.append("none" if everywhere else f"none in {', '.join(without)}")
    if unknown:
        words.append(f"{UNJUDGED} in {', '.join(unknown)}")
    return ", ".join(words)


def _times(largest: float) -> str:
    return f"{scientific(largest)} ×" if np.isfinite(largest) else "not finite"


def _neighbours(cells: Sequence[Cell]) -> list[str]:
    """The ratio by both ways to count, and what speaks against the first."""
    every, above = (
        finite(np.array([cell.mean_of(metric) for cell in cells]))
        for metric in ("mean_neighbour_ratio", "neighbour_ratio_above_epsilon")
    )
    if not len(every):
        return []
    low, high = paper.NEIGHBOUR_RATIO
    text = f"Neighbouring eigenvalues have a mean ratio of {_from_to(every)} over all of them"
    if len(above):
        inside = sum(against_papers_ratio(float(ratio)) == "inside" for ratio in above)
        text += (
            f", and of {_from_to(above)} over those of at least 10 ε, which lies in the paper's "
            f"{low:g} to {high:g} in {inside} of {len(above)} cells"
        )
    else:
        text += f", which alone does not confirm the paper's {low:g} to {high:g}"
    if any(cell.decomposes and (cell.case.d or STEM_CHANNELS) > STEM_INPUTS for cell in cells):
        text += (
            f": the first convolution has {STEM_INPUTS} inputs, so that in larger groups of "
            f"channels the eigenvalues after the {STEM_INPUTS}th are ε but for rounding, and their "
            "ratios of about 1 enter the first mean"
        )
    return [f"{text}."]


def _from_to(values: Floats) -> str:
    return " to ".join(dict.fromkeys(f"{end:.2f}" for end in (values.min(), values.max())))
