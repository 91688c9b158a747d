"""Two cells of trainings: how many trials finished, their test errors, the time of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eigbench.kinds.train import TrainCase
from eigbench.report.compare.chance import shares, shares_can_show
from eigbench.report.compare.effects import STEP_TIME, SUCCESS, TEST_ERROR, Draft, exact, statuses
from eigbench.report.compare.matching import Unit
from eigbench.report.compare.noise import TIME_BETWEEN_RUNS, TIME_SHARE, Level, between, level
from eigbench.report.training.cells import Cell, baseline, gather, joined
from eigbench.report.training.inference import welch
from eigbench.runs.record import Record


@dataclass(frozen=True)
class Trained:
    """A cell of one run, and the batch normalisation that was trained in that run."""

    cell: Cell
    norm: Cell | None


def trained(unit: Unit, records: Sequence[Record]) -> Trained:
    """The cell of a unit; `records` are all of its run."""
    cell = gather((), unit.records)[0]
    return Trained(cell, baseline(gather((), records), cell) if cell.decomposes else None)


def drafts(a: Trained, b: Trained, *, same_machine: bool) -> list[Draft]:
    """The effects of a cell of which both runs have trials."""
    if not (a.cell.trials and b.cell.trials):
        return []
    return [
        _success(a.cell, b.cell),
        _test_error(a.cell, b.cell),
        *_step_times(a, b, same_machine=same_machine),
    ]


def status_drafts(a: Unit, b: Unit) -> list[Draft]:
    """What became of the trials with the same seed, where their records' statuses differ."""
    ours, theirs = _by_seed(a), _by_seed(b)
    pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    return statuses(pairs)


def images(unit: Unit) -> str:
    """The starts of the SHA-256 of the images; "" if no trial recorded them."""
    found = {tuple(record.labels.get("data", ())[1:]) for record in unit.records} - {()}
    return ", then ".join("/".join(sha[:8] for sha in hashes) for hashes in sorted(found))


def _by_seed(unit: Unit) -> dict[int, Record]:
    return {
        record.case.seed: record for record in unit.records if isinstance(record.case, TrainCase)
    }


def _success(a: Cell, b: Cell) -> Draft:
    note = " → ".join(f"{finished} of {trials} finished" for finished, trials in _successes(a, b))
    first, second = (finished / trials for finished, trials in _successes(a, b))
    if first == second:
        return exact(SUCCESS, first, second, note)
    can_show = shares_can_show(a.success, b.success)
    return Draft(SUCCESS, first, second, shares(a.success, b.success), can_show=can_show, note=note)


def _successes(*cells: Cell) -> list[tuple[int, int]]:
    return [cell.success for cell in cells]


def _test_error(a: Cell, b: Cell) -> Draft:
    first, second = (float(c.errors.mean()) if len(c.errors) else math.nan for c in (a, b))
    if len(a.errors) and np.array_equal(a.errors, b.errors):
        return exact(TEST_ERROR, first, second)
    return Draft(TEST_ERROR, first, second, welch(b.errors, a.errors))


def _step_times(a: Trained, b: Trained, *, same_machine: bool) -> list[Draft]:
    """The time of a step, which is judged on the same machine; else its ratio to batch norm's.

    Batch normalisation was trained before, and not in turn. Its ratio takes out what the machine
    is, but not its drift, so that both have the allowance of a time.
    """
    times = [_level(one.cell) for one in (a, b)]
    if times[0] is None or times[1] is None:
        return []
    time = _draft([times[0]], [times[1]])
    norms = [_level(one.norm) if one.norm else None for one in (a, b)]
    found = [time if same_machine else replace(time, given="not judged")]
    if norms[0] is not None and norms[1] is not None:
        parts = ([times[0], norms[0].inverse], [times[1], norms[1].inverse])
        ratio = replace(_draft(*parts), relative_to="bn")
        found.append(replace(ratio, given="not judged") if same_machine else ratio)
    return found


def _level(cell: Cell) -> Level | None:
    """Of the logarithms of all steps, trial after trial."""
    seconds = joined(trial.values("step_seconds") for trial in cell.trials)
    found = level(np.log(np.where(seconds > 0, seconds, np.nan)))
    return found.moved(TIME_SHARE) if found else None


def _draft(a: Sequence[Level], b: Sequence[Level]) -> Draft:
    values = [math.exp(sum(part.value for part in levels)) for levels in (a, b)]
    return Draft(STEP_TIME, values[0], values[1], between(a, b, TIME_BETWEEN_RUNS))
