"""Facts that pages print of the committed trainings, by name, from their records.

`trials RUN METHOD [axis=value …]` is "2 of 3", `interval …` of one cell the same with its 95 %
interval, `steps …` how many were taken, `rank …` the mean number of pairs kept over all steps, and
`ranks RUN` the least and the largest of these means by method. `error …` is the mean test error in
% with its 95 % interval (Student's t) and the number of trials, and `above … than METHOD
[axis=value …]` by how many points it is above that of another cell, seed by seed, likewise.
`spikes …` counts those of the net's gradient as a report does.
`cost RUN METHOD axis=value …` is the time of one profiled workload over that of its reference.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eigbench.report import numbers, stats
from eigbench.report.chapters import training
from eigbench.report.chapters.trials import steps_of
from eigbench.report.costs import costs_of
from eigbench.report.frame import Frames
from eigbench.runs.record import content_of
from eigbench.runs.store import PACKED, read_run

REPORTS = Path(__file__).parents[1] / "reports"


@functools.cache
def records(run: str) -> list[dict[str, Any]]:
    """The records of a committed run, as JSON has them."""
    return [json.loads(line) for line in content_of(REPORTS / run / PACKED).splitlines()]


def chosen(run: str, method: str, *wanted: str) -> list[dict[str, Any]]:
    """The trials of a method whose axes have these values, such as "d=16"."""
    axes = [one.split("=") for one in wanted]
    found = [
        record
        for record in records(run)
        if record["case"]["method"] == method
        and all(f"{_axes(record['case']).get(axis)}" == value for axis, value in axes)
    ]
    assert found, (run, method, wanted)
    return found


def _axes(case: dict[str, Any]) -> dict[str, Any]:
    return {**case.get("parameters", {}), **case}


def finished(trials: list[dict[str, Any]]) -> int:
    """How many of these trials ended as planned."""
    return sum(record["labels"].get("outcome") == ["finished"] for record in trials)


def mean_rank(trials: list[dict[str, Any]]) -> float:
    """The mean number of pairs kept, over all steps of these trials."""
    kept = [float(value) for record in trials for value in record["samples"].get("rank_kept", [])]
    return sum(kept) / len(kept)


def errors(trials: list[dict[str, Any]]) -> dict[int, float]:
    """The test errors of trials that finished, by random seed."""
    done = [one for one in trials if one["labels"].get("outcome") == ["finished"]]
    found = {one["case"]["seed"]: float(one["samples"]["test_error"][0]) for one in done}
    assert len(found) == len(done), "several cells"
    return found


def above(run: str, cells: str) -> str:
    """By how much the test error of one cell is above that of another."""
    one, other = (errors(chosen(run, *cell.split())) for cell in cells.split(" than "))
    differences = [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
    return numbers.difference(stats.paired(np.array(differences).round(9)), 100)


def cost(run: str, method: str, *wanted: str) -> str:
    """The median of the ratios round by round, with its interval, of one workload."""
    ids = {record["id"] for record in chosen(run, method, *wanted)}
    assert len(ids) == 1, "several workloads"
    return numbers.with_interval(costs_of(_frames(run)).ratios[ids.pop()])


def spikes(run: str, method: str, *wanted: str) -> str:
    """How many steps of these trials had a spike in the gradient of the whole net."""
    ids = [record["id"] for record in chosen(run, method, *wanted)]
    steps = steps_of(_frames(run)).filter(pl.col("id").is_in(ids), "recorded")
    return training.spikes(steps["net_ratio"].drop_nulls())


def _frames(run: str) -> Frames:
    return Frames(read_run(REPORTS / run), REPORTS / run)


def ranks(run: str) -> str:
    """From the least mean rank of a method to the largest."""
    methods = {r["case"]["method"] for r in records(run) if r["samples"].get("rank_kept")}
    means = [mean_rank(chosen(run, method)) for method in methods]
    return f"{min(means):.1f} to {max(means):.1f}"


def steps(trials: list[dict[str, Any]]) -> str:
    """How many were taken."""
    return f"{sum(len(record['samples'].get('loss', [])) for record in trials):,}"


def interval(trials: list[dict[str, Any]]) -> str:
    """How many finished, with the interval of the share."""
    # Trials of one seed in several cells are not independent: of a sum there is no interval.
    assert len({json.dumps({**record["case"], "seed": 0}) for record in trials}) == 1
    return numbers.counted(finished(trials), len(trials))


def error(trials: list[dict[str, Any]]) -> str:
    """The mean test error of those that finished, with its 95 % interval."""
    found = np.array([*errors(trials).values()])
    return f"{numbers.with_interval(stats.paired(found), 100)} %, n = {len(found)}"


OF_TRIALS = {
    "trials": lambda trials: f"{finished(trials)} of {len(trials)}",
    "interval": interval,
    "steps": steps,
    "rank": lambda trials: f"{mean_rank(trials):.1f}",
    "error": error,
}


OF_RUNS = {"cost": cost, "spikes": spikes}


def fact(name: str) -> str:
    """What a page prints under this name."""
    what, run, *rest = name.split()
    if what == "ranks":
        return ranks(run)
    if what == "above":
        return above(run, " ".join(rest))
    if what in OF_RUNS:
        return OF_RUNS[what](run, *rest)
    return OF_TRIALS[what](chosen(run, *rest))
