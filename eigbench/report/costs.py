"""What a run cost: a row a profile, medians with intervals, and which differences are shown.

A time is the median over rounds. A ratio is the median of the ratios round by round: contestants of
a workload are timed in turn, so that what the machine does meanwhile hits all alike.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report import stats
from eigbench.report.frame import Frames, values_of
from eigbench.report.numbers import NOTHING, percentage
from eigbench.report.plots import style
from eigbench.report.render import table
from eigbench.report.stats import Decision, Interval
from eigbench.runs.record import Record

Floats = NDArray[np.float64]

PASSES = ("forward", "backward", "update")
"""What a run consists of; only a training step has an update."""

SUBJECTS = ("whitening", "operation", "layer", "step")
"""In the order in which they are shown; others follow."""

_AXES = ("subject", "method", "layer", "d", "energy", "batch", "dtype", "compiled", "trace")
_ONCE = (
    "first_call_seconds", "block_runs", "peak_bytes", "saved_bytes", "kernels", "synchronisations",
    *(f"{name}_{what}" for name in PASSES for what in ("operators", "flops")),
)  # fmt: skip
_LABELS = {
    "clock": "clock", "operation": "operation", "anatomy_failed": "anatomy_failed",
    "trace_file": "trace",
}  # fmt: skip
"""Columns, and the labels that they hold the first word of."""


@dataclass(frozen=True, eq=False)
class Costs:
    """The profiles of a run that has some; each part is computed when it is first asked for."""

    frames: Frames

    @cached_property
    def records(self) -> dict[str, Record]:
        """The records by case."""
        return {record.id: record for _, record in self.frames.records(ProfileCase)}

    @cached_property
    def cases(self) -> dict[str, ProfileCase]:
        """The planned cases in their order, then any other with a record."""
        cases = [*self.frames.run.plan, *(record.case for record in self.records.values())]
        return {case.id: case for case in cases if isinstance(case, ProfileCase)}

    @cached_property
    def profiles(self) -> pl.DataFrame:
        """A row a case: by subject, workload and contestant.

        Columns: axes of the case, `id`, `workload`, `contestant` (see there), its `rank` among them
        (references first), `reference` (whether it is one), `what` (the subject in words), `size`,
        `status` (of a record, or "planned"), `reason`, `session`, `rounds`, medians of `time` and
        `ratio`, what is counted once (all NaN without), and labels.
        """
        rows = [self._row(key, case) for key, case in self.cases.items()]
        methods = list(dict.fromkeys(row["method"] for row in rows))
        workloads = list(dict.fromkeys(row["workload"] for row in rows))
        subjects = [*SUBJECTS, *dict.fromkeys(row["subject"] for row in rows)]
        layers = list(dict.fromkeys(row["layer"] for row in rows))

        def rank(row: dict[str, Any]) -> tuple[Any, ...]:
            usual = row["iterations"] in (None, self.frames.iterations)
            method = methods.index(row["method"])
            return not row["reference"], method, not usual, row["iterations"] or 0, row["compiled"]

        def place(row: dict[str, Any]) -> tuple[Any, ...]:
            layer, workload = layers.index(row["layer"]), workloads.index(row["workload"])
            return subjects.index(row["subject"]), layer, workload, rank(row)

        ranks = sorted({rank(row) for row in rows})
        ranked = [{**row, "rank": ranks.index(rank(row))} for row in sorted(rows, key=place)]
        return pl.DataFrame(ranked, infer_schema_length=None)

    def _row(self, key: str, case: ProfileCase) -> dict[str, Any]:
        record = self.records.get(key)
        time, ratio = self.times[key], self.ratios[key]
        row: dict[str, Any] = {axis: getattr(case, axis) for axis in _AXES}
        row |= {
            "id": key, "workload": case.workload.id, "iterations": case.iterations,
            "contestant": contestant(case, self.frames.iterations),
            "reference": case.is_reference, "what": what(case), "size": size(case),
            "status": record.status if record else "planned",
            "reason": record.reason if record else None,
            "session": record.session if record else None,
            "rounds": len(self.seconds(key)),
            "time": time.value if time else math.nan,
            "ratio": ratio.value if ratio else math.nan,
        }  # fmt: skip
        for name in _ONCE:
            finite = (float(value) for value in self.values(key, name) if np.isfinite(value))
            row[name] = next(finite, math.nan)
        labels = record.labels if record else {}
        return row | {one: next(iter(labels.get(name, [])), None) for one, name in _LABELS.items()}

    @cached_property
    def timed(self) -> pl.DataFrame:
        """The rows with a time, one a workload and contestant: a case may be traced besides."""
        known = self.profiles.filter(pl.col("time").is_finite())
        return known.unique(["workload", "contestant"], keep="first", maintain_order=True)

    def values(self, key: str, metric: str) -> Floats:
        """Raw values `(rounds,)` or of whatever the metric is a list of; empty without."""
        record = self.records.get(key)
        return np.array(record.values(metric) if record else [], dtype=np.float64)

    def seconds(self, key: str, whose: str = "") -> Floats:
        """By round `(rounds,)`: a whole run; empty where the passes do not fit together."""
        forward, backward, update = (self.values(key, f"{whose}{p}_seconds") for p in PASSES)
        if len(forward) != len(backward) or len(update) not in (0, len(forward)):
            return np.array([], dtype=np.float64)
        total: Floats = forward + backward + (update if len(update) else 0)
        return total

    @cached_property
    def times(self) -> dict[str, Interval | None]:
        """By case the median run, in seconds."""
        return {key: stats.median(self.seconds(key)) for key in self.cases}

    def time_of(self, key: str, name: str) -> Interval | None:
        """The median of one pass, in seconds."""
        return stats.median(self.values(key, f"{name}_seconds"))

    @cached_property
    def ratios(self) -> dict[str, Interval | None]:
        """By case the run over that of the workload's first reference, in the same rounds."""
        return {
            key: _quotient(self.seconds(key), self.seconds(key, "reference_")) for key in self.cases
        }

    def over(self, key: str, other: str) -> Interval | None:
        """A run over another's, round by round; None if they were not timed in turn."""
        same = self._in_turn(key, other)
        return _quotient(self.seconds(key), self.seconds(other)) if same else None

    def added(self, key: str, other: str) -> Interval | None:
        """A run less another's, round by round, in seconds; None as above."""
        if not self._in_turn(key, other):
            return None
        with np.errstate(invalid="ignore"):  # where both are infinite
            more = self.seconds(key) - self.seconds(other)
        return stats.median(more, signed=True, none=0.0)

    def _in_turn(self, key: str, other: str) -> bool:
        """Whether the rounds of both are the same ones: a resumed run has others."""
        if not {key, other} <= set(self.records):
            return False
        ours, theirs = (self.records[one].labels.get("contest", []) for one in (key, other))
        return ours == theirs != [] and len(self.seconds(key)) == len(self.seconds(other))

    @cached_property
    def decisions(self) -> dict[tuple[str, str], Decision]:
        """What is shown of every ratio: by the case, and the case it is compared with.

        Each method with its reference, named "", and each two methods of a workload; all are asked
        together.
        """
        asked: dict[tuple[str, str], Interval | None] = {}
        for (_,), own in self.timed.group_by("workload", maintain_order=True):
            methods = own.filter(~pl.col("reference"))["id"].to_list()
            asked |= {(key, ""): self.ratios[key] for key in methods}
            asked |= {(a, b): self.over(a, b) for a, b in itertools.combinations(methods, 2)}
        found = stats.decide(list(asked.values()), none=1.0)
        return dict(zip(asked, found, strict=True))

    def is_slower(self, key: str, other: str) -> bool:
        """Whether a method is shown to take more time than another of its workload."""
        if (key, other) in self.decisions:
            return self.decisions[key, other].answer == "higher"
        return (other, key) in self.decisions and self.decisions[other, key].answer == "lower"


@dataclass(frozen=True)
class Extremes:
    """Who is shown to be faster, or slower, than each other method, in how many workloads."""

    contests: int
    """Workloads with two methods or more."""
    fastest: Counter[str]
    slowest: Counter[str]
    apart: float
    """The largest ratio of two methods' median times within a workload; NaN without contests."""


def extremes(costs: Costs, timed: pl.DataFrame) -> Extremes:
    """The fastest and the slowest methods of these rows of `Costs.timed`."""
    contests, apart = 0, math.nan
    fastest: Counter[str] = Counter()
    slowest: Counter[str] = Counter()
    methods = timed.filter(~pl.col("reference"))
    for (_,), own in methods.group_by("workload", maintain_order=True):
        if own.height < 2:
            continue
        contests += 1
        times = own["time"].to_list()
        apart = float(np.nanmax([apart, max(times) / min(times)]))
        for key, label in own.select("id", "contestant").iter_rows():
            others = [other for other in own["id"] if other != key]
            fastest[label] += all(costs.is_slower(other, key) for other in others)
            slowest[label] += all(costs.is_slower(key, other) for other in others)
    return Extremes(contests, +fastest, +slowest, apart)


def reference_of(subject: str) -> str:
    """What ratios of a subject are taken to."""
    return REFERENCES.get(subject, REFERENCES["operation"])[0]


def contestant(case: ProfileCase, iterations: int) -> str:
    """A method, with its K where that is not the suite's, and whether it is compiled."""
    if case.method == "none":
        return "no layer"
    K = "" if case.iterations in (None, iterations) else f", K = {case.iterations}"
    return case.method + K + (", compiled" if case.compiled else "")


def what(case: ProfileCase) -> str:
    """A subject in words, such as "ZCA layer"."""
    layer = (case.layer or "").upper()
    words = {
        "whitening": "function M^(−1/2)", "operation": "bare decomposition",
        "layer": f"{layer} layer", "step": f"{layer} training step",
    }  # fmt: skip
    return words.get(case.subject, case.subject)


def size(case: ProfileCase) -> str:
    """How large the matrices are, such as "d = 16" or "PCA, 99 % kept"."""
    kept = f"d = {case.d}" if case.energy is None else f"{percentage(case.energy)} kept"
    return f"{case.layer.upper()}, {kept}" if case.layer else kept


def title(row: dict[str, Any]) -> str:
    """A workload in one line, of a row of `Costs.profiles`."""
    kept = row["size"].split(", ")[-1]
    return f"{row['what']}, {kept}, {row['dtype']}, batch {row['batch']}"


def dwarfing(largest: dict[str, float], factor: float = 4.0) -> list[str]:
    """Whoever takes more than `factor` times the median of all: a linear axis leaves it out."""
    known = [value for value in largest.values() if math.isfinite(value)]
    limit = factor * float(np.median(known)) if known else math.inf
    return [name for name, value in largest.items() if not value <= limit]


def _quotient(seconds: Floats, others: Floats) -> Interval | None:
    if len(seconds) != len(others):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return stats.median(seconds / others)


def look(name: str) -> dict[str, Any]:
    """A contestant's look: its method's; hollow and dotted where it is compiled."""
    own = style(name.removesuffix(", compiled"))
    if name.endswith(", compiled"):
        own = {**own, "markerfacecolor": "white", "linestyle": (0, (4, 1, 1, 1))}
    return own


OWN_TABLE = 4
"""A precision and batch with fewer sizes shares a table with the other batches."""


def places(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """What shares a table, with its title: a precision and batch, if it has several sizes."""
    found: dict[str, list[pl.DataFrame]] = {}
    for (dtype, batch), own in rows.group_by("dtype", "batch", maintain_order=True):
        few = own["size"].n_unique() < OWN_TABLE
        found.setdefault(f"{dtype}, by batch" if few else f"{dtype}, batch {batch}", []).append(own)
    result = []
    for title_, parts in found.items():
        own = pl.concat(parts)
        batches = own["batch"].unique()
        one = f"{own['dtype'][0]}, batch {batches[0]}"
        result.append((one if len(batches) == 1 else title_, own))
    return result


def fullest(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """The rows of the precision and batch with the most measured sizes, thinned to `most` sizes.

    Of several with as many, the first precision and its largest batch.
    """
    dtypes = values_of(rows, "dtype")
    groups = [own for _, own in rows.filter(status="measured").group_by(
        "dtype", "batch", maintain_order=True)]  # fmt: skip
    best = max(groups, default=rows.clear(), key=lambda own: (
        own["size"].n_unique(), -dtypes.index(own["dtype"][0]), own["batch"][0]))  # fmt: skip
    sizes = sizes_of(best)
    if len(sizes) > most:
        sizes = [sizes[round(i * (len(sizes) - 1) / (most - 1))] for i in range(most)]
    return best.filter(pl.col("size").is_in(sizes))


def sizes_of(rows: pl.DataFrame) -> list[str]:
    """The sizes by name: layers in their order, in each the smaller first."""
    layers = {layer: index for index, layer in enumerate(rows["layer"].unique(maintain_order=True))}
    distinct = rows.unique("size", maintain_order=True).select("size", "layer", "d", "energy")
    ordered = sorted(
        distinct.iter_rows(named=True),
        key=lambda row: (layers[row["layer"]], row["d"] or 0, row["energy"] or 0),
    )
    return [row["size"] for row in ordered]


def contestants(rows: pl.DataFrame) -> list[str]:
    """Contestants in their order: references first, a compiled method next to its own."""
    return (
        rows.sort("rank", maintain_order=True)["contestant"].unique(maintain_order=True).to_list()
    )


def by_size(rows: pl.DataFrame, cell: Callable[[dict[str, Any]], str]) -> str:
    """A table of contestants by size, and by batch where there are several; "" of nothing.

    `cell` writes a measured row. Of one that was not measured its status is shown; a measured one
    comes first where a case is planned twice, with a trace and without.
    """
    found: dict[tuple[str, str, int], str] = {}
    order = pl.col("status").replace_strict({"measured": 0, "planned": 2}, default=1)
    for row in rows.sort(order, maintain_order=True).iter_rows(named=True):
        status = NOTHING if row["status"] == "planned" else row["status"]
        text = cell(row) if row["status"] == "measured" else status
        found.setdefault((row["contestant"], row["size"], row["batch"]), text)
    said = {place[1:] for place, text in found.items() if text not in (NOTHING, *_LOST)}
    if not said:
        return ""
    batches = sorted({batch for _, batch in said})
    columns = [(one, batch) for one in sizes_of(rows) for batch in batches if (one, batch) in said]
    body = [[label, *(found.get((label, *column), NOTHING) for column in columns)]
            for label in contestants(rows)]  # fmt: skip
    several = rows["batch"].n_unique() > 1
    bare = not several and rows["layer"].is_null().all()
    heads = [
        f"{one}, batch {batch}" if several else one.removeprefix("d = " * bare)
        for one, batch in columns
    ]
    kept = [row for row in body if set(row[1:]) != {NOTHING}]
    return table(["method \\ d" if bare else "method", *heads], kept)


_LOST = ("failed", "skipped")
"""A size of which nothing else is known has no column."""
