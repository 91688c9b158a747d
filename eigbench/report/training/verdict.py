"""The verdict on trainings: sentences that the numbers produce."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from eigbench.report import paper
from eigbench.report.markdown import scientific
from eigbench.report.training import costs, returned, writing
from eigbench.report.training.cells import Cell, finite
from eigbench.report.training.differences import REFERENCE, Comparison, survival
from eigbench.report.training.inference import SIGNIFICANT, holm
from eigbench.report.training.naming import WITHOUT, condition, conditions, groups, name, varied
from eigbench.report.training.spikes import FACTOR, NONE, Spikes
from eigbench.report.training.tables import against_papers_ratio


def verdict(
    compare: str, cells: Sequence[Cell], found: Sequence[Comparison], *, papers: bool
) -> list[str]:
    """Who survives, with which error, whose gradients spike, what it costs, and the paper."""
    started = [cell for cell in cells if cell.trials]
    if not started:
        return []
    return [
        *_survival(started),
        *_errors(started),
        *_differences(started, found),
        *_not_learned(started),
        *_spikes(started),
        *costs.sentences(started),
        *returned.sentences(compare, started, papers=papers),
        *_neighbours(started),
    ]


def _survival(cells: Sequence[Cell]) -> list[str]:
    sentences = []
    axes = varied(cells)
    for group, own in groups(cells).items():
        total = (sum(c.success[0] for c in own), sum(c.success[1] for c in own))
        text = f"**{group}** finished {writing.counted(total)}"
        exceptions = sum(len(cell.of("failed")) for cell in own)
        if exceptions:
            text += f", {exceptions} ended in an exception"
        if total[0] < total[1] and len(own) > 1:
            text += ": " + "; ".join(_by_place(cell, axes) for cell in own)
        sentences.append(f"{text}.")
    methods = list(dict.fromkeys(c.case.method for c in cells if c.case.layer not in WITHOUT))
    others = [method for method in methods if method != REFERENCE]
    if REFERENCE not in methods or not others:
        return sentences
    p_values = dict(zip(others, holm([survival(cells, m, REFERENCE) for m in others]), strict=True))
    clear = [f"{m} (p = {scientific(p)})" for m, p in p_values.items() if p < SIGNIFICANT]
    rest = [method for method, p in p_values.items() if p >= SIGNIFICANT]
    if clear:
        sentences.append(f"A success rate other than **{REFERENCE}**'s is shown for "
                         f"{', '.join(clear)} (Fisher's exact test).")  # fmt: skip
    if rest:
        sentences.append(f"No difference in success rate from **{REFERENCE}** is shown for "
                         f"{', '.join(rest)} (Fisher's exact test).")  # fmt: skip
    return sentences


def _by_place(cell: Cell, axes: Sequence[str]) -> str:
    where = condition(cell.case, axes) or name(cell.case, axes)
    return f"{where}, {cell.success[0]} of {cell.success[1]}"


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
    least = "Least mean" if len(known) > len(words) else "Mean"
    return [f"{least} test error: {'; '.join(words)}."]


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
    return [f"Test error is {'; '.join(shown)}{_not_shown(tested)} ({test})."]


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
    return ["Finished is not the same as learned: the training loss of these ended no lower than "
            f"it began: {'; '.join(words)}."]  # fmt: skip


def _spikes(cells: Sequence[Cell]) -> list[str]:
    layer, net = (_spiking(cells, metric) for metric in ("layer_gradient_norm", "gradient_norm"))
    where = {"through the layer": layer, "of the whole net": net}
    words = [f"{place}: {found}" for place, found in where.items() if found]
    if not words:
        return []
    return [f"Gradient spikes, over {FACTOR} × the running median, {'. And '.join(words)}."]


def _spiking(cells: Sequence[Cell], metric: str) -> str:
    """Which methods have spikes and which have none; "" if no step was judged."""
    words, without = [], []
    for group, own in groups(cells).items():
        total = reduce(Spikes.__add__, (cell.spikes(metric) for cell in own), NONE)
        if total.count:
            words.append(f"**{group}** {total.per_thousand:.2g} per 1000 steps, the largest "
                         f"{scientific(total.largest)}")  # fmt: skip
        elif total.judged:
            without.append(group)
    if not words:
        return "none" if without else ""
    return "; ".join(words) + (f"; none in {', '.join(without)}" if without else "")


def _neighbours(cells: Sequence[Cell]) -> list[str]:
    low, high = paper.NEIGHBOUR_RATIO
    ratios = finite(np.array([cell.mean_of("mean_neighbour_ratio") for cell in cells]))
    if not len(ratios):
        return []
    inside = sum(against_papers_ratio(float(ratio)) == "inside" for ratio in ratios)
    return [
        f"The mean ratio of neighbouring eigenvalues is {ratios.min():.2f} to {ratios.max():.2f}, "
        f"inside the paper's {low:g} to {high:g} in {inside} of {len(ratios)} cells."
    ]
