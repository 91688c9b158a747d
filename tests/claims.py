"""Facts that pages print of the committed trainings, by name, from their records.

`trials RUN METHOD [axis=value …]` is "2 of 3", `interval …` of one cell the same with its 95 %
interval, `steps …` how many were taken, `rank …` the mean number of pairs kept over all steps, and
`ranks RUN` the least and the largest of these means by method.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from eigbench.report import numbers
from eigbench.runs.record import content_of
from eigbench.runs.store import PACKED

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
        and all(f"{record['case'][axis]}" == value for axis, value in axes)
    ]
    assert found, (run, method, wanted)
    return found


def finished(trials: list[dict[str, Any]]) -> int:
    """How many of these trials ended as planned."""
    return sum(record["labels"].get("outcome") == ["finished"] for record in trials)


def mean_rank(trials: list[dict[str, Any]]) -> float:
    """The mean number of pairs kept, over all steps of these trials."""
    kept = [float(value) for record in trials for value in record["samples"].get("rank_kept", [])]
    return sum(kept) / len(kept)


def fact(name: str) -> str:
    """What a page prints under this name."""
    what, run, *rest = name.split()
    if what == "ranks":
        methods = {r["case"]["method"] for r in records(run) if r["samples"].get("rank_kept")}
        means = [mean_rank(chosen(run, method)) for method in methods]
        return f"{min(means):.1f} to {max(means):.1f}"
    trials = chosen(run, *rest)
    if what == "rank":
        return f"{mean_rank(trials):.1f}"
    if what == "steps":
        return f"{sum(len(record['samples'].get('loss', [])) for record in trials):,}"
    if what == "interval":
        # Trials of one seed in several cells are not independent: of a sum there is no interval.
        assert len({json.dumps({**record["case"], "seed": 0}) for record in trials}) == 1, name
        return numbers.counted(finished(trials), len(trials))
    assert what == "trials", name
    return f"{finished(trials)} of {len(trials)}"
