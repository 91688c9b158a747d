"""Records as tidy tables: a row a case and matrix (or round, step, point), a column a quantity.

Everything that a report says is computed from these frames. A case that failed keeps its rows, with
nulls where there is no value, so that no summary can forget it. Skipped cases have a frame of their
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl

from eigbench.algorithm_1 import ITERATIONS
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.kinds.stability import STABILITY_METRICS, StabilityCase
from eigbench.kinds.train import TrainCase
from eigbench.report import situations
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.store import Run

POINT = ("d", "spectrum", "gap", "scale", "dtype", "epsilon", "loss", "matrix")
"""What is asked of a method: one matrix and one loss."""

RIGHT = 0.01
"""A gradient counts as right up to this relative error."""


STEP_SERIES = ("loss", "gradient_norm", "layer_gradient_norm", "rank_kept", "mean_neighbour_ratio",
               "neighbour_ratio_above_epsilon", "smallest_relative_gap", "condition_number",
)  # fmt: skip
"""What reports use of the series that a training records by step."""
STEP_COLUMNS = {"id": pl.String, "row": pl.Int64, **dict.fromkeys(STEP_SERIES, pl.Float64)}
ONCE = ("test_error", "steps_planned", "epoch_steps")
"""What they use of the samples that it records once or by epoch; of the latter the first."""
TRIAL_COLUMNS = {"outcome": pl.String, "cause": pl.String, **dict.fromkeys(ONCE, pl.Float64)}

PAIR_METRICS = ("forward_residual", "orthogonality_error", "eigenvalue_error",
                "eigenvalues_below_epsilon", "smallest_relative_gap")  # fmt: skip
"""What the stability cases of methods with eigenpairs have besides."""

C = TypeVar("C")


@dataclass(frozen=True, eq=False)
class Frames:
    """All frames of a run; each is made when it is first asked for."""

    run: Run
    folder: Path
    """Where figures go."""

    @property
    def iterations(self) -> int:
        """The suite's usual K: the first of its axis."""
        return (self.run.suite.axes.iterations or [ITERATIONS])[0]

    def records(self, kind: type[C], *statuses: str) -> list[tuple[C, Record]]:
        """The cases of a kind with their records, of these statuses (all if none is named)."""
        return [
            (record.case, record)
            for record in self.run.records
            if isinstance(record.case, kind) and (not statuses or record.status in statuses)
        ]

    def tidy(self, kind: type[Any], *statuses: str) -> pl.DataFrame:
        """A row a case of this kind and sample; the cases of these statuses, or of all."""
        return tidy(record for _, record in self.records(kind, *statuses))

    @cached_property
    def every_stability(self) -> pl.DataFrame:
        """A row a stability case and matrix, those with other random starts included.

        Besides axes and metrics: `matrix`, the random seed of its matrix; `error`, infinite where
        there is no finite gradient; `finite`; `right`; `situation`; `contestant`, the method with
        its K where that is not the suite's.
        """
        frame = self.tidy(StabilityCase, "measured", "failed")
        return frame if frame.is_empty() else self._judged(frame)

    @cached_property
    def stability(self) -> pl.DataFrame:
        """The same with the first random starts alone, which is one row a contestant and matrix."""
        frame = self.every_stability
        return frame if frame.is_empty() else frame.filter(pl.col("start") == 0)

    @cached_property
    def usual(self) -> pl.DataFrame:
        """The same at the suite's K alone: contestants are methods."""
        frame = self.stability
        return frame if frame.is_empty() else frame.filter(pl.col("contestant") == pl.col("method"))

    def _judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        # Where every case failed no record has them.
        known = (*STABILITY_METRICS, *PAIR_METRICS)
        frame = frame.with_columns(metric(frame, name).alias(name) for name in known)
        frame = self.contested(frame).with_columns(matrix=pl.col("seed") + pl.col("row"))
        return situations.classified(frame, POINT)

    def contested(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with `error`, `finite`, `right` and `contestant`."""
        error = metric(frame, "gradient_error").fill_nan(None).fill_null(float("inf"))
        finite = (metric(frame, "gradient_finite") == 1).fill_null(value=False)
        K = pl.col("iterations")
        named = (
            pl.when(K.is_null() | (self.iterations == K))
            .then(pl.col("method"))
            .otherwise(pl.format("{}, K = {}", "method", K))
        )
        frame = frame.with_columns(error=error, finite=finite, contestant=named)
        return frame.with_columns(right=pl.col("error") <= RIGHT)

    @cached_property
    def invariances(self) -> pl.DataFrame:
        """A row a measured invariance case and matrix."""
        return self.tidy(InvarianceCase, "measured")

    @cached_property
    def paths(self) -> pl.DataFrame:
        """A row a measured path and point on it; `moved` is the move to the next point."""
        return self.tidy(PathCase, "measured")

    @cached_property
    def trials(self) -> pl.DataFrame:
        """A row a training, in the order of the suite, those without a record (`missing`) too.

        Its case, its labels and `ONCE`.
        """
        place = {case.id: position for position, case in enumerate(self.run.plan)}
        blank = [
            Record(schema=SCHEMA, id=case.id, case=case, status="skipped")
            for case in self.run.missing
            if isinstance(case, TrainCase)
        ]
        records = [_first(record) for _, record in self.records(TrainCase)] + blank
        records.sort(key=lambda one: (place.get(one.id, len(place)), one.id))
        missing = pl.col("id").is_in([one.id for one in blank])
        return _with(TRIAL_COLUMNS, tidy(records)).with_columns(missing=missing)

    @cached_property
    def steps(self) -> pl.DataFrame:
        """A row a trial and recorded step: `id`, `row` (the step, from 0) and `STEP_SERIES`.

        `trials` has the rest.
        """
        records = (record for _, record in self.records(TrainCase, "measured", "failed"))
        frame = _with(STEP_COLUMNS, tidy(records, series=(*STEP_SERIES, "step")))
        step = metric(frame, "step").cast(pl.Int64)
        return frame.with_columns(row=pl.coalesce(step, "row")).select(*STEP_COLUMNS)


def _first(record: Record) -> Record:
    """The record with the first values of `ONCE` alone."""
    samples = {name: record.samples[name][:1] for name in ONCE if name in record.samples}
    return msgspec.structs.replace(record, samples=samples)


def _with(columns: dict[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with these columns even where no record has them."""
    return pl.concat([pl.DataFrame(schema=columns), frame], how="diagonal_relaxed")


def metric(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column of numbers; nulls if no record of the frame has it."""
    return pl.col(name) if name in frame.columns else pl.lit(None, dtype=pl.Float64)


def tidy(records: Iterable[Record], series: Sequence[str] = ()) -> pl.DataFrame:
    """A row for each record and sample.

    Columns: the fields of the case (`parameters` as JSON; `iterations` and `start` from them),
    `id`, `status`, `reason`, `session`, `row` (the position of the sample), one a metric (Float64),
    and one a label that has one word or as many as there are rows. A metric with a single value has
    it in every row; a shorter one has nulls at its end, and so has all of a case that failed, with
    a row for each of its matrices.

    With `series`, only `id`, `row` and these metrics: the rest would be repeated in every row of a
    record that has very many.
    """
    parts = [
        _rows(list(own), series)
        for _, own in groupby(records, key=lambda r: (type(r.case), r.status, tuple(r.samples)))
    ]
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def _rows(records: list[Record], series: Sequence[str]) -> pl.DataFrame:
    """Records of one kind of case and with the same metrics."""
    lengths = [_length(record) for record in records]
    fields: dict[str, Any] = {"id": [record.id for record in records]}
    columns = {"row": pl.Series([*chain.from_iterable(map(range, lengths))], dtype=pl.Int64)}

    def flat(values: Iterable[list[Any]], dtype: Any) -> pl.Series:
        return pl.Series([*chain.from_iterable(map(_padded, values, lengths))], dtype=dtype)

    for name in (name for name in records[0].samples if not series or name in series):
        columns[name] = flat((record.values(name) for record in records), pl.Float64)
    if not series:
        fields |= _fields(records)
        # The images of a training are a label too: their name is a field, and stays one.
        for name in sorted({label for record in records for label in record.labels} - {*fields}):
            words = [record.labels.get(name, []) for record in records]
            fit = [own * (len(own) in (1, n)) for own, n in zip(words, lengths, strict=True)]
            columns[name] = flat(fit, pl.String)
    owner = [record for record, length in enumerate(lengths) for _ in range(length)]
    rows = pl.DataFrame(fields, strict=False)[owner]
    return rows.with_columns(column.alias(name) for name, column in columns.items())


def _fields(records: list[Record]) -> dict[str, list[Any]]:
    """By name what records have one of: the fields of their cases, and of their own."""
    cases = [msgspec.structs.asdict(record.case) for record in records]
    fields = {name: [case[name] for case in cases] for name in cases[0]}
    if (parameters := fields.get("parameters")) is not None:
        fields["iterations"] = [own.get("iterations") for own in parameters]
        fields["start"] = [own.get("seed") or 0 for own in parameters]
        encoded = (msgspec.json.encode(own, order="sorted") for own in parameters)
        fields["parameters"] = [text.decode() for text in encoded]
    own_names = ("status", "reason", "session")
    return fields | {name: [getattr(one, name) for one in records] for name in own_names}


def _length(record: Record) -> int:
    """How many rows a record has."""
    if record.samples:
        return max(1, *map(len, record.samples.values()))  # one that broke at once has a row too
    return getattr(record.case, "seeds", 1) if record.status == "failed" else 1


def _padded(values: list[Any], length: int) -> list[Any]:
    if len(values) == 1:
        return values * length
    return [*values, *[None] * (length - len(values))]


def values_of(frame: pl.DataFrame, axis: str) -> list[Any]:
    """The values that an axis takes, numbers ascending (gaps descending), words as they come."""
    if frame.is_empty() or axis not in frame.columns:
        return []
    values = frame[axis].drop_nulls().unique(maintain_order=True)
    if values.dtype in (pl.String, pl.Boolean):
        return values.to_list()
    return values.sort(descending=axis == "gap").to_list()


def comparable(frame: pl.DataFrame, by: str = "contestant") -> tuple[pl.DataFrame, list[str]]:
    """The rows of the points that all contestants share, and who was left out.

    A contestant that was measured at fewer than nine in ten of as many points as most of them, as a
    reference is, does not narrow the comparison: it is left out.
    """
    if frame.is_empty():
        return frame, []
    keys = [key for key in POINT if key in frame.columns]
    counts = frame.group_by(by, maintain_order=True).len()
    sizes = counts.group_by("len", maintain_order=True).agg(pl.len().alias("methods"))
    usual = sizes.sort("methods", "len", descending=True)["len"][0]
    enough = counts.filter(pl.col("len") >= 0.9 * usual)[by].to_list()
    rest = [name for name in values_of(frame, by) if name not in enough]
    kept = frame.filter(pl.col(by).is_in(enough))
    shared = (
        kept.group_by(keys, maintain_order=True)
        .agg(pl.col(by).n_unique().alias("contestants"))
        .filter(pl.col("contestants") == len(enough))
    )
    if shared.is_empty():  # of a run that was interrupted early: there is nobody to compare with
        first = counts.sort("len", descending=True, maintain_order=True)[by][0]
        return frame.filter(pl.col(by) == first), [n for n in values_of(frame, by) if n != first]
    fair = kept.join(shared, on=keys, how="semi", nulls_equal=True, maintain_order="left")
    return fair, rest
