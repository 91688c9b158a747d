"""Trainings as tables: a row a trial, planned ones included, and a row a cell of equal trials.

A *trial* is one training with one random seed; the trials of a *cell* differ in the seed alone. A
cell is a *contestant* (a method, with its parameters where they vary) in a *condition* (all else
that varies).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report.frame import Frames, metric, tidy, values_of
from eigbench.report.names import setting, varied, words
from eigbench.report.stats import Decision, Share, decide, share, share_difference
from eigbench.runs.record import SCHEMA, Record

WITHOUT = ("bn", "none")
"""Layers that decompose nothing."""

PLACE = ("model", "layer", "d", "components", "energy", "epsilon", "truncation")
"""What a suite sweeps besides the method and its parameters."""

_OTHERS = {"method", "parameters", "seed", "device", *PLACE}
SHARED = tuple(field for field in TrainCase.__struct_fields__ if field not in _OTHERS)
"""Data and recipe: usually the same in all cells."""

CLASSES = {"cifar10": 10, "cifar10-mini": 10, "cifar100": 100}
IMAGES = {"cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000), "cifar10-mini": (2000, 500)}
"""Training and test images of the sets that are known by their name."""

LAST = 0.1
"""The final training loss is the mean of this last share of the steps; the first one likewise."""

FACTOR, WINDOW, LEAST = 10, 50, 5
"""A spike is a norm over `FACTOR` times the median of the `WINDOW` steps before, `LEAST` or more.
A norm that is not finite is none: the trial diverged."""

FEW = 2
"""So many conditions are named one by one; of more only what they share."""

REFERENCE, EXACT = "hybrid", "spectral"
"""What other methods are compared with: the paper's method, and the exact gradient."""

_METRICS = (
    "loss", "gradient_norm", "layer_gradient_norm", "step_seconds", "rank_kept", "test_error",
    "mean_neighbour_ratio", "neighbour_ratio_above_epsilon", "steps_planned", "epoch_steps",
    "validation_error",
)  # fmt: skip


def steps_of(frames: Frames, trials: pl.DataFrame) -> pl.DataFrame:
    """A row a trial and step, with nulls for what is not finite, spikes, `contestant`, `condition`.

    `recorded` says whether the step has a loss, finite or not. `layer_ratio` and `net_ratio` are a
    gradient's norm over the median of the steps before it; null where it is not judged.
    """
    frame = frames.steps
    if frame.is_empty():
        return frame
    frame = frame.with_columns(recorded=metric(frame, "loss").is_not_null())
    finite = [pl.when(metric(frame, m).is_finite()).then(metric(frame, m)).alias(m)
              for m in _METRICS]  # fmt: skip
    frame = frame.with_columns(finite)
    for name, norm in (("layer_ratio", "layer_gradient_norm"), ("net_ratio", "gradient_norm")):
        before = pl.col(norm).rolling_median(WINDOW, min_samples=LEAST).shift(1).over("id")
        frame = frame.with_columns((pl.col(norm) / before).fill_nan(0.0).alias(name))
    places = trials.select("id", "contestant", "condition", "decomposes")
    return places.join(frame, on="id", how="inner", maintain_order="left_right")


def trials_of(frames: Frames) -> pl.DataFrame:
    """A row a trial, in the order of the suite; see `_summed` for the columns.

    `outcome` is "finished", "diverged", "exception", "skipped" or "not measured".
    """
    planned = [case for case in frames.run.plan if isinstance(case, TrainCase)]
    recorded = {record.id for record in frames.run.records}
    blank = [Record(schema=SCHEMA, id=case.id, case=case, status="skipped")
             for case in planned if case.id not in recorded]  # fmt: skip
    parts = [
        _summed(frames.steps),
        tidy(record for _, record in frames.records(TrainCase, "skipped")).with_columns(
            outcome=pl.lit("skipped")
        ),
        tidy(blank).with_columns(outcome=pl.lit("not measured")),
    ]
    frame = pl.concat([part for part in parts if "id" in part.columns] or [pl.DataFrame()],
                      how="diagonal_relaxed")  # fmt: skip
    if frame.is_empty():
        return frame
    known = [name for name in _NUMBERS if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in known)
    place = {case.id: position for position, case in enumerate(planned)}
    order = pl.Series([place.get(one, len(place)) for one in frame["id"]])
    frame = frame.with_columns(_order=order).sort("_order", "seed", maintain_order=True)
    return _named(frame.drop("_order")).with_columns(_at_chance(frame.drop("_order")))


_NUMBERS = ("begun", "planned", "test_error", "first_loss", "final_loss", "rank_kept",
            "ratio", "ratio_above", "layer_norm", "step_seconds", "last_loss", "last_norm",
            "last_layer_norm")  # fmt: skip


def _summed(frame: pl.DataFrame) -> pl.DataFrame:
    """Steps to trials: how each ended, and means or medians of its finite values.

    `begun` counts steps, with the one at which it diverged; null after an exception.
    """
    if frame.is_empty():
        return frame
    one = {m: pl.when(metric(frame, m).is_finite()).then(metric(frame, m)) for m in _METRICS}
    loss, tail = one["loss"], (LAST * metric(frame, "loss").count()).round().cast(pl.Int64).clip(1)
    label = {name: pl.first(name) if name in frame.columns else pl.lit(None, dtype=pl.String)
             for name in ("outcome", "cause")}  # fmt: skip
    fields = (*TrainCase.__struct_fields__, "iterations", "status", "reason")
    frame = frame.group_by("id", maintain_order=True).agg(
        *(pl.first(name) for name in fields),
        outcome=label["outcome"],
        cause=label["cause"],
        recorded=metric(frame, "loss").count().cast(pl.Float64),
        planned=one["steps_planned"].first(),
        test_error=one["test_error"].first(),
        first_loss=loss.head(tail).mean(),
        final_loss=loss.filter(metric(frame, "loss").is_not_null()).tail(tail).mean(),
        rank_kept=one["rank_kept"].mean(),
        ratio=one["mean_neighbour_ratio"].mean(),
        ratio_above=one["neighbour_ratio_above_epsilon"].mean(),
        layer_norm=one["layer_gradient_norm"].median(),
        step_seconds=one["step_seconds"].median(),
        last_loss=loss.drop_nulls().last(),
        last_norm=one["gradient_norm"].drop_nulls().last(),
        last_layer_norm=one["layer_gradient_norm"].drop_nulls().last(),
    )
    failed = pl.col("status") == "failed"
    broke = pl.col("cause").str.extract(r"at step (\d+)").cast(pl.Float64) + 1
    return frame.with_columns(
        outcome=pl.when(failed).then(pl.lit("exception"))
        .when(pl.col("outcome") == "finished").then(pl.lit("finished"))
        .otherwise(pl.lit("diverged")),
        begun=pl.when(~failed).then(pl.max_horizontal("recorded", broke)),
        why=pl.when(failed).then("reason").otherwise(pl.col("cause").str.extract(r"^(.*?) at st")),
    )  # fmt: skip


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with `decomposes`, `contestant` and `condition`."""
    frame = frame.with_columns(decomposes=~pl.col("layer").is_in(WITHOUT))
    own = frame.filter("decomposes")
    axes = varied(own, (*PLACE, *SHARED)) if len(own) else varied(frame, SHARED)
    axes = axes or ["layer", "d", "components", "energy"]
    sets = {method: rows["parameters"].unique(maintain_order=True).to_list()
            for (method,), rows in frame.group_by("method", maintain_order=True)}  # fmt: skip
    contestants, conditions = [], []
    for row in frame.iter_rows(named=True):
        several = len(sets[row["method"]]) > 1
        contestants.append(row["method"] + (_parameters(row["parameters"]) if several else ""))
        at = axes if row["decomposes"] else [a for a in axes if a in ("model", *SHARED)]
        conditions.append(words(row, at))
    return frame.with_columns(
        contestant=pl.Series(contestants, dtype=pl.String),
        condition=pl.Series(conditions, dtype=pl.String),
    )


def _parameters(text: str) -> str:
    named = {"iterations": "K"}
    return "".join(f", {named.get(k, k)} = {v}" for k, v in json.loads(text).items())


def name_of(row: dict[str, Any]) -> str:
    """A cell or a trial in words, such as "hybrid, d = 4"."""
    return ", ".join(filter(None, (row["contestant"], row["condition"])))


def axes_of(trials: pl.DataFrame) -> list[str]:
    """The axes by which conditions differ."""
    return varied(trials.filter("decomposes"), (*PLACE, *SHARED))


def chance(data: str) -> float | None:
    """The test error of guessing; None for images that are not known by their name."""
    return 1 - 1 / CLASSES[data] if data in CLASSES else None


def _at_chance(frame: pl.DataFrame) -> pl.Series:
    """Whether a test error's interval reaches that of guessing; null where that is not known."""
    return pl.Series("at_chance", [
        _guesses(row["test_error"], row["data"], row["test_images"])
        for row in frame.iter_rows(named=True)
    ], dtype=pl.Boolean)  # fmt: skip


def _guesses(error: float | None, data: str, images: int | None) -> bool | None:
    count = images or IMAGES.get(data, (None, None))[1]
    guessing = chance(data)
    if error is None or count is None or guessing is None or not 0 <= error <= 1:
        return None
    return share(round(error * count), count).high >= guessing


def cells_of(trials: pl.DataFrame) -> pl.DataFrame:
    """A row a cell, with `started`, `finished`, `diverged`, `total_steps` and more: see `SUMS`."""
    return trials.group_by("contestant", "condition", maintain_order=True).agg(*SUMS)


_FINISHED = pl.col("outcome") == "finished"
SUMS = (
    *(pl.first(name) for name in ("method", "decomposes", "parameters", "iterations",
                                  *PLACE, *SHARED)),
    _FINISHED.sum().cast(pl.Int64).alias("finished"),
    (pl.col("outcome") == "diverged").sum().cast(pl.Int64).alias("diverged"),
    (pl.col("outcome") == "exception").sum().cast(pl.Int64).alias("exceptions"),
    pl.col("outcome").is_in(["finished", "diverged", "exception"]).sum().cast(pl.Int64)
    .alias("started"),
    (pl.col("outcome") == "skipped").sum().cast(pl.Int64).alias("skipped"),
    pl.len().cast(pl.Int64).alias("planned_trials"),
    pl.col("begun").sum().cast(pl.Int64).alias("total_steps"),
    pl.col("planned").max().alias("planned_steps"),
    pl.col("begun").filter(pl.col("outcome") == "diverged").min().alias("first_failure"),
    pl.col("begun").filter(pl.col("outcome") == "diverged").max().alias("last_failure"),
    pl.col("test_error").filter(_FINISHED).drop_nulls().alias("errors"),
    pl.col("at_chance").filter(_FINISHED).drop_nulls().alias("guesses"),
    (pl.col("final_loss") >= pl.col("first_loss")).filter(_FINISHED).sum().cast(pl.Int64)
    .alias("not_learned"),
    pl.col("final_loss").filter(_FINISHED).mean().alias("final_loss"),
    pl.col("rank_kept").mean().alias("rank_kept"),
    pl.col("ratio").mean().alias("ratio"),
    pl.col("ratio_above").mean().alias("ratio_above"),
    pl.col("layer_norm").median().alias("layer_norm"),
    pl.col("step_seconds").drop_nulls().alias("step_times"),
)  # fmt: skip
"""How trials add up, to cells or to contestants."""


def contestants_of(trials: pl.DataFrame) -> pl.DataFrame:
    """A row a contestant, over all conditions."""
    return trials.group_by("contestant", maintain_order=True).agg(*SUMS)


def places(cells: pl.DataFrame, among: pl.DataFrame, axes: Sequence[str]) -> str:
    """Where some cells are among others, with its preposition; "" if that is everywhere.

    Their values on each axis, if these make a grid; their number and what they share, if not.
    """
    conditions, all_of = values_of(cells, "condition"), values_of(among, "condition")
    own = [axis for axis in axes if values_of(cells, axis)]
    if len(all_of) < 2 or not own:
        return ""
    if math.prod(len(values_of(cells, axis)) for axis in own) == len(conditions):
        return f"at {setting(cells, own)}"
    if len(conditions) <= FEW:
        return f"at {' / '.join(conditions)}"
    shared = [axis for axis in own if len(values_of(cells, axis)) < len(values_of(among, axis))]
    only = f", all with {setting(cells, shared)}" if shared else ""
    return f"in {len(conditions)} of {len(all_of)} conditions{only}"


def against(cells: pl.DataFrame, reference: str) -> dict[str, Decision]:
    """Each contestant's share of finished trials less the reference's, condition by condition."""
    found = {}
    for name in values_of(cells.filter("decomposes"), "contestant"):
        if name == reference:
            continue
        strata: list[tuple[Share, Share]] = [
            ((one["finished"], one["started"]), (one["finished_right"], one["started_right"]))
            for one in pairs(cells, name, reference).iter_rows(named=True)
        ]
        found[name] = share_difference(strata) if strata else None
    return dict(zip(found, decide([*found.values()]), strict=True))


def pairs(cells: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """The conditions in which both started trials; the columns of `other` end in `_right`."""
    begun = cells.filter(pl.col("started") > 0)
    return begun.filter(pl.col("contestant") == one).join(
        begun.filter(pl.col("contestant") == other), on="condition", maintain_order="left"
    )


def chunks(names: Sequence[Any], size: int) -> list[list[Any]]:
    """The names in groups of at most `size`."""
    return [list(names[start : start + size]) for start in range(0, len(names), size)]
