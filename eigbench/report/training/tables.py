"""The tables of trainings: how to read them, every cell, spikes, divergences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eigbench.report.markdown import NOTHING, axis_value, percent, scientific, table
from eigbench.report.paper import NEIGHBOUR_RATIO
from eigbench.report.training import spikes, writing
from eigbench.report.training.cells import (
    LAST_SHARE,
    Cell,
    Trial,
    baseline,
    finite,
    joined,
    pooled,
    trials_of,
)
from eigbench.report.training.naming import name, varied

MEBIBYTE = 2**20
SHOWN_NORMS = 4
"""How many gradient norms are written of a divergence, the last one with them."""


def how_to_read() -> list[str]:
    """What the words in the tables mean."""
    return [
        "## How to read it",
        "A **trial** is one training from scratch with one seed; the trials of a **cell** differ "
        "in their seed alone. A trial **diverges** if its loss or its gradient is not finite or "
        "its decomposition does not converge; it ends there, and it has no test error. One that "
        "ended in an exception counts as not finished too. The **success rate** is the share of "
        "started trials that finished, with its Wilson 95 % interval. **Test error** is that of "
        "the weights after the last step, over finished trials, ± their standard deviation; no "
        "epoch was picked by it. **Finished is not the same as learned**: read the errors. The "
        f"**final training loss** is the mean of the last {percent(LAST_SHARE)} of the steps. A "
        f"**spike** is {spikes.MEANING}. **Step time** is the median step of a trial, then of "
        "the trials, without diagnostics; trials ran one after the other, so that a busy machine "
        "shows in it. **Rank kept** and the **neighbour ratio** λ(i+1)/λ(i), eigenvalues "
        "descending, are means over groups and over all steps at which they are finite.",
        "**A difference between methods is not of the gradient alone.** Unless a truncation is "
        "given, a whitening layer takes its method's own: `spectral` and what computes a root "
        "or a factor without eigenpairs keep everything, `svd-released` truncates as the authors' "
        "program does, and all others by the paper's Algorithm 1, which keeps d − 1 of d pairs at "
        "most. Their forward passes differ, and so may their errors and their survival.",
    ]


def every_cell(cells: Sequence[Cell]) -> list[str]:
    """One row a cell, those without records too."""
    axes = varied(cells)
    headers = [
        "method", *(_header(axis) for axis in axes), "trials", "finished", "success", "95 %",
        "test error %", "min", "final training loss", "spikes per 1000 steps, layer", "step, ms",
        "× BN", "rank kept", "neighbour ratio", "the same, ≥ 10 ε", "peak memory, MiB",
    ]  # fmt: skip
    low, high = NEIGHBOUR_RATIO
    return [
        "## Every cell",
        table(headers, [_cell_row(cells, cell, axes) for cell in cells]),
        f"The paper's mean neighbour ratio is {low:g} to {high:g} (§2.4); over which eigenvalues "
        "it does not say. The first is over all of them, the second over neighbours of which the "
        "smaller is at least 10 ε: what is less stands for the ε that was added. Peak memory is of "
        f"{_peak_of(cells)}, the largest of the trials.",
    ]


def _cell_row(cells: Sequence[Cell], cell: Cell, axes: Sequence[str]) -> list[str]:
    case = cell.case
    values = [getattr(case, axis) for axis in axes]
    losses = np.array([trial.final_loss for trial in cell.finished])
    peaks = pooled([cell], lambda trial: max(trial.values("peak_bytes"), default=float("nan")))
    peak = np.fmax.reduce(peaks, initial=np.nan) / MEBIBYTE
    return [
        case.method,
        *(NOTHING if value is None else axis_value(value) for value in values),
        str(len(cell.trials)) if not cell.skipped or cell.trials else "skipped",
        str(len(cell.finished)) if cell.trials else NOTHING,
        writing.share(cell.success),
        writing.interval(cell.success),
        writing.errors(cell.errors),
        writing.least_error(cell.errors),
        writing.plain(losses),
        _per_thousand(cell, cell.spikes("layer_gradient_norm")),
        writing.milliseconds(step(cell)),
        writing.times(step_ratio(cells, cell)),
        writing.factor(cell.mean_of("rank_kept")),
        _plain_ratio(cell.mean_of("mean_neighbour_ratio")),
        _ratio(cell.mean_of("neighbour_ratio_above_epsilon")),
        NOTHING if np.isnan(peak) else f"{peak:.0f}",
    ]


def step(cell: Cell) -> float:
    """The median over trials of their median step; NaN of none."""
    return float(np.median(cell.step_seconds)) if len(cell.step_seconds) else float("nan")


def step_ratio(cells: Sequence[Cell], cell: Cell) -> float:
    """A step over that of batch normalisation in the same run; NaN if there is none."""
    standard = baseline(cells, cell)
    return step(cell) / step(standard) if standard and step(standard) > 0 else float("nan")


def gradient_spikes(cells: Sequence[Cell]) -> list[str]:
    """Spikes of the whole net's gradient and of that through the layer."""
    measured = [cell for cell in cells if cell.trials]
    if not measured:
        return []
    axes = varied(cells)
    body = []
    for cell in measured:
        layer, net = (cell.spikes(m) for m in ("layer_gradient_norm", "gradient_norm"))
        counts = (f"{found.count} of {found.judged}" if found.judged else spikes.UNJUDGED
                  for found in (layer, net))  # fmt: skip
        rates = (writing.factor(found.per_thousand) for found in (layer, net))
        largest = (writing.factor(found.largest) for found in (layer, net))
        numbers = [word for row in zip(counts, rates, largest, strict=True) for word in row]
        gaps = finite(joined(t.values("smallest_relative_gap") for t in cell.trials))
        closest = scientific(float(gaps.min())) if len(gaps) else NOTHING
        body.append([name(cell.case, axes), *numbers, closest])
    headers = ["cell", "layer: spikes", "per 1000", "largest", "net: spikes", "per 1000",
               "largest", "smallest relative gap"]  # fmt: skip
    return [
        "## Gradient spikes",
        f"A spike is {spikes.MEANING}. *Layer* is the gradient that leaves the layer towards the "
        "first convolution, *net* that of all parameters; *largest* is the largest norm over its "
        "running median. The first steps of a trial are not judged. The last column is the "
        "smallest relative gap between neighbouring eigenvalues at any step. *Not judged*: every "
        "trial ended before a step could be.",
        table(headers, body),
    ]


def divergences(cells: Sequence[Cell]) -> list[str]:
    """One row for each trial that diverged."""
    axes = varied(cells)
    diverged = [trial for trial in trials_of(cells) if trial.outcome == "diverged"]
    parts = ["## Trials that diverged"]
    if not diverged:
        return [*parts, "None of the trials diverged."]
    headers = ["cell", "seed", "steps recorded", "cause", "last finite loss",
               "norms up to it, net", "norms up to it, layer"]  # fmt: skip
    return [*parts, table(headers, [_divergence(trial, axes) for trial in diverged])]


def _divergence(trial: Trial, axes: Sequence[str]) -> list[str]:
    loss = trial.values("loss")
    known = loss[np.isfinite(loss)]
    planned = trial.values("steps_planned")
    of = f" of {planned[0]:.0f}" if len(planned) and np.isfinite(planned[0]) else ""
    return [
        name(trial.case, axes),
        str(trial.case.seed),
        f"{len(loss)}{of}",
        trial.label("cause") or "not recorded",
        scientific(float(known[-1])) if len(known) else NOTHING,
        _norms(trial, "gradient_norm"),
        _norms(trial, "layer_gradient_norm"),
    ]


def _norms(trial: Trial, metric: str) -> str:
    last = trial.values(metric)[-SHOWN_NORMS:]
    return (
        ", ".join("NaN" if np.isnan(norm) else scientific(float(norm)) for norm in last) or NOTHING
    )


def _per_thousand(cell: Cell, found: spikes.Spikes) -> str:
    if cell.trials and not found.judged:
        return spikes.UNJUDGED
    return writing.factor(found.per_thousand)


def _plain_ratio(ratio: float) -> str:
    return NOTHING if np.isnan(ratio) else f"{ratio:.3f}"


def _ratio(ratio: float) -> str:
    return NOTHING if np.isnan(ratio) else f"{ratio:.3f} ({against_papers_ratio(ratio)})"


def against_papers_ratio(ratio: float) -> str:
    """Where a mean neighbour ratio lies of the paper's interval, to the digits that it prints."""
    low, high = NEIGHBOUR_RATIO
    rounded = round(ratio, 2)
    return "below" if rounded < low else "above" if rounded > high else "inside"


def _peak_of(cells: Sequence[Cell]) -> str:
    words = dict.fromkeys(trial.label("peak_of") for trial in trials_of(cells))
    kinds = [f"the {word}" for word in words if word]
    return " or ".join(kinds) or "the process"


def _header(axis: str) -> str:
    return {"iterations": "K", "epsilon": "ε", "components": "e"}.get(axis, axis)
