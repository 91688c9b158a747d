"""What a run cost: a row a profile, medians with intervals, and which differences are shown.

A time is the median over rounds. A ratio is the median of the ratios round by round: contestants of
a workload are timed in turn, so that what the machine does meanwhile hits all alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report import stats
from eigbench.report.frame import Frames
from eigbench.report.numbers import percentage
from eigbench.report.stats import Decision, Interval
from eigbench.runs.record import Record

Floats = NDArray[np.float64]

PASSES = ("forward", "backward", "update")
"""What a run consists of; only a training step has an update."""

SUBJECTS = ("whitening", "operation", "layer", "step")
"""In the order in which they are shown; others follow."""

_AXES = ("subject", "method", "layer", "d", "energy", "batch", "dtype", "layout", "compiled",
         "trace", "iterations")  # fmt: skip
_LABELS = {"clock": "clock", "anatomy_failed": "anatomy_failed", "trace_file": "trace"}
"""Columns, and the labels that they hold the first word of."""

_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("subject", "method", "layer", "dtype", "layout", "id", "workload",
                     "contestant", "what", "status", *_LABELS), pl.String),
    **dict.fromkeys(("d", "batch", "iterations", "session", "rounds"), pl.Int64),
    **dict.fromkeys(("energy", "time", "ratio", "low", "high"), pl.Float64),
    **dict.fromkeys(("compiled", "trace", "reference", "noisy"), pl.Boolean),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Costs:
    """The profiles of a run; each part is computed when it is first asked for."""

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
        """A row a case: by subject, layer, precision, layout, size, batch; references come first.

        Columns: axes of the case, `id`, `workload`, `reference` (whether it is one), `contestant`
        (a method in words), `what` (the subject in words), `status` (of a record, or "planned"),
        `session`, `rounds`, the median `time` in seconds, the median `ratio` with the ends of its
        interval (`low`, `high`) and whether it is `noisy` (null without), and the first words of
        labels. Words sort in the order in which they are shown.
        """
        rows = [self._row(key, case) for key, case in self.cases.items()]
        frame = pl.DataFrame(rows, _SCHEMA).with_columns(
            _in_order(rows, "subject", SUBJECTS),
            *(_in_order(rows, name) for name in ("layer", "dtype", "layout", "method")),
        )
        ranked = frame.sort(~pl.col("reference"), "method",
                            pl.col("iterations") != self.frames.iterations, "iterations",
                            "compiled", nulls_last=False)  # fmt: skip
        contestants = pl.Enum(ranked["contestant"].unique(maintain_order=True))
        return ranked.with_columns(pl.col("contestant").cast(contestants)).sort(
            "subject", "layer", "dtype", "layout", "d", "energy", "batch", "contestant",
            pl.col("status") != "measured", maintain_order=True,
        )  # fmt: skip

    def _row(self, key: str, case: ProfileCase) -> dict[str, Any]:
        record, time, ratio = self.records.get(key), self.times[key], self.ratios[key]
        labels = record.labels if record else {}
        return {
            **{axis: getattr(case, axis) for axis in _AXES},
            **{one: next(iter(labels.get(name, [])), None) for one, name in _LABELS.items()},
            "id": key, "workload": case.workload.id, "reference": case.is_reference,
            "contestant": contestant(case, self.frames.iterations), "what": what(case),
            "status": record.status if record else "planned",
            "session": record.session if record else None, "rounds": len(self.seconds(key)),
            "time": time and time.value, "ratio": ratio and ratio.value,
            "low": ratio and ratio.low, "high": ratio and ratio.high,
            "noisy": ratio and ratio.noisy,
        }  # fmt: skip

    @cached_property
    def timed(self) -> pl.DataFrame:
        """The rows with a time, one a workload and contestant: a case may be traced besides."""
        known = self.profiles.filter(pl.col("time").is_not_null())
        return known.unique(["workload", "contestant"], keep="first", maintain_order=True)

    @cached_property
    def compared(self) -> pl.DataFrame:
        """Those of them with a ratio to their reference, references left out."""
        return self.timed.filter(~pl.col("reference"), pl.col("ratio").is_not_null())

    def values(self, key: str, metric: str) -> Floats:
        """Raw values `(rounds,)` or of whatever the metric is a list of; empty without."""
        record = self.records.get(key)
        return np.array(record.values(metric) if record else [], dtype=np.float64)

    def once(self, key: str, metric: str) -> float:
        """What is counted once a case; NaN without."""
        values = self.values(key, metric)
        return next((float(value) for value in values if np.isfinite(value)), math.nan)

    def listed(
        self, key: str, words: Mapping[str, str], numbers: Mapping[str, str]
    ) -> pl.DataFrame:
        """What a record lists: a row an entry, with these labels and metrics as columns.

        Empty if the lists do not fit together, or hold a number that is not finite.
        """
        labels = self.records[key].labels
        columns: dict[str, Any] = {name: labels.get(label, []) for name, label in words.items()}
        columns |= {name: self.values(key, metric) for name, metric in numbers.items()}
        schema = {**dict.fromkeys(words, pl.String), **dict.fromkeys(numbers, pl.Float64)}
        fit = len(set(map(len, columns.values()))) == 1
        whole = fit and all(np.isfinite(columns[name]).all() for name in numbers)
        return pl.DataFrame(columns if whole else None, schema=schema)

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

    @cached_property
    def ratios(self) -> dict[str, Interval | None]:
        """By case the run over that of the workload's first reference, in the same rounds."""
        return {
            key: _quotient(self.seconds(key), self.seconds(key, "reference_")) for key in self.cases
        }

    def over(self, key: str, other: str) -> Interval | None:
        """A run over another's, round by round; None if they were not timed in turn.

        The rounds of a resumed run are others.
        """
        ours, theirs = (self.records[one].labels.get("contest", []) for one in (key, other))
        same = ours == theirs != []
        return _quotient(self.seconds(key), self.seconds(other)) if same else None

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


@lru_cache(maxsize=1)
def costs_of(frames: Frames) -> Costs:
    """The costs of a run, computed once for all chapters."""
    return Costs(frames)


def _in_order(rows: list[dict[str, Any]], name: str, first: tuple[str, ...] = ()) -> pl.Expr:
    """A column of words that sorts as they come, these first."""
    words = dict.fromkeys([*first, *(row[name] for row in rows if row[name] is not None)])
    return pl.col(name).cast(pl.Enum(list(words)))


def _quotient(seconds: Floats, others: Floats) -> Interval | None:
    if len(seconds) != len(others):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return stats.median(seconds / others)


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


def title(row: dict[str, Any]) -> str:
    """A workload in one line, of a row of `Costs.profiles`."""
    size = f"d = {row['d']}" if row["energy"] is None else f"{percentage(row['energy'])} kept"
    layout = "" if row["layout"] == "contiguous" else f", {row['layout']}"
    return f"{row['what']}, {size}, {row['dtype']}{layout}, batch {row['batch']}"
