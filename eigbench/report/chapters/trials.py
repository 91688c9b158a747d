"""Trainings as tables: a row a trial, planned ones included, and a row a cell of equal trials.

A *trial* is one training with one random seed; the trials of a *cell* differ in the seed alone. A
cell is a *contestant* (a method, with its parameters where they vary) in a *condition* (all else
that varies).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report.frame import ONCE, STEP_SERIES, Frames, values_of
from eigbench.report.names import setting, varied, words
from eigbench.report.stats import Decision, Interval, decide, discordant, share

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
"""The final training loss is the mean of this last share of the steps."""

FACTOR, WINDOW, LEAST = 10, 50, 5
"""A spike is a norm over `FACTOR` times the median of the `WINDOW` steps before, `LEAST` or more.
A norm that is not finite is none: the trial diverged."""

FEW_STEPS = 400
"""After so few steps, running statistics lag behind the weights: of errors nothing is concluded."""

REFERENCE, EXACT = "hybrid", "spectral"
"""What other methods are compared with: the paper's method, and the exact gradient."""


def steps_of(frames: Frames) -> pl.DataFrame:
    """`frames.steps` with nulls for what is not finite, and spikes.

    `recorded` says whether the step has a loss, finite or not. `layer_ratio` and `net_ratio` are a
    gradient's norm over the median of the steps before it; null where it is not judged, as in
    trials of which not every step is recorded.
    """
    frame = frames.steps.with_columns(
        pl.col("loss").is_not_null().alias("recorded"), *map(_finite, STEP_SERIES)
    )
    every = pl.col("row").max().over("id") < pl.len().over("id")
    for name, norm in (("layer_ratio", "layer_gradient_norm"), ("net_ratio", "gradient_norm")):
        before = pl.col(norm).rolling_median(WINDOW, min_samples=LEAST).shift(1).over("id")
        ratio = pl.when(every).then((pl.col(norm) / before).fill_nan(0.0))
        frame = frame.with_columns(ratio.alias(name))
    return frame


def _finite(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)


def trials_of(frames: Frames, steps: pl.DataFrame) -> pl.DataFrame:
    """`frames.trials` with how each ended, and what its `steps` (of `steps_of`) come to.

    `outcome` is "finished", "diverged", "exception", "skipped" or "not measured". `begun` counts
    steps, with the one at which it diverged; null after an exception. `at_chance`: whether the
    interval of the test error reaches that of guessing; null where that is not known.
    """
    recorded = pl.col("recorded")
    tail = (LAST * recorded.sum()).round().cast(pl.Int64).clip(1)
    summed = steps.group_by("id").agg(
        recorded=pl.col("row").filter(recorded).max() + 1,
        final_loss=pl.col("loss").filter(recorded).tail(tail).mean(),
        rank_kept=pl.col("rank_kept").mean(),
        ratio=pl.col("mean_neighbour_ratio").mean(),
        ratio_above=pl.col("neighbour_ratio_above_epsilon").mean(),
        layer_norm=pl.col("layer_gradient_norm").median(),
    )
    frame = frames.trials.with_columns(*map(_finite, ONCE))
    if "id" not in frame.columns:
        return pl.DataFrame()
    failed, broke = pl.col("status") == "failed", pl.col("cause").str.extract(r"at step (\d+)")
    begun = pl.max_horizontal(pl.col("recorded").fill_null(0), broke.cast(pl.Int64) + 1)
    frame = frame.join(summed, on="id", how="left", maintain_order="left").with_columns(
        outcome=pl.when("missing").then(pl.lit("not measured"))
        .when(failed).then(pl.lit("exception"))
        .when(pl.col("status") == "skipped").then(pl.lit("skipped"))
        .when(pl.col("outcome") == "finished").then(pl.lit("finished"))
        .otherwise(pl.lit("diverged")),
        begun=pl.when(pl.col("status") == "measured").then(begun),
        why=pl.when(failed).then("reason").otherwise(pl.col("cause").str.extract(r"^(.*?) at st")),
        decomposes=~pl.col("layer").is_in(WITHOUT),
        at_chance=pl.Series([guesses(row["test_error"], row["data"], row["test_images"])
                             for row in frame.iter_rows(named=True)], dtype=pl.Boolean),
    )  # fmt: skip
    return _named(frame)


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """With `contestant`, `condition`, and `cell`, which is both."""
    axes = varied(frame.filter("decomposes"), (*PLACE, *SHARED)) or varied(frame, SHARED)
    axes = axes or ["layer", "d", "components", "energy"]
    frame = frame.with_columns(several=pl.col("parameters").n_unique().over("method") > 1)
    names = []
    for row in frame.iter_rows(named=True):
        own = json.loads(row["parameters"]) if row["several"] else {}
        told = [f"{'K' if name == 'iterations' else name} = {own[name]}" for name in own]
        contestant = ", ".join([row["method"], *told])
        at = [axis for axis in axes if row["decomposes"] or axis in ("model", *SHARED)]
        condition = words(row, at)
        cell = f"{contestant}, {condition}" if condition else contestant
        names.append({"contestant": contestant, "condition": condition, "cell": cell})
    return frame.hstack(pl.DataFrame(names))


def chance(data: str) -> float | None:
    """The test error of guessing; None for images that are not known by their name."""
    return 1 - 1 / CLASSES[data] if data in CLASSES else None


def guesses(error: float | None, data: str, images: int | None) -> bool | None:
    """Whether a test error is not shown to be better than guessing; None if that is not known."""
    count, guessing = images or IMAGES.get(data, (None, None))[1], chance(data)
    if error is None or count is None or guessing is None or not 0 <= error <= 1:
        return None
    return share(round(error * count), count).high >= guessing


def cells_of(trials: pl.DataFrame, by: Sequence[str] = ("contestant", "condition")) -> pl.DataFrame:
    """How trials add up: a row a cell; or a row a contestant, over all of its conditions."""
    outcome = pl.col("outcome")
    finished, diverged = outcome == "finished", outcome == "diverged"
    counts = {
        "finished": finished.sum(),
        "diverged": diverged.sum(),
        "exceptions": (outcome == "exception").sum(),
        "started": outcome.is_in(["finished", "diverged", "exception"]).sum(),
        "skipped": (outcome == "skipped").sum(),
        "planned_trials": pl.len(),
        "total_steps": pl.col("begun").sum(),
    }
    return trials.group_by(by, maintain_order=True).agg(
        *(pl.first(name) for name in ("cell", "method", "decomposes", "parameters", "iterations",
                                      *PLACE, *SHARED)),
        *(count.cast(pl.Int64).alias(name) for name, count in counts.items()),
        pl.col("id").alias("ids"),
        pl.col("id").filter(diverged).alias("lost"),
        pl.col("steps_planned").max(),
        pl.col("test_error").filter(finished).drop_nulls().alias("errors"),
        pl.col("at_chance").filter(finished).drop_nulls().alias("guesses"),
        pl.col("final_loss").filter(finished).mean(),
        pl.col("rank_kept", "ratio", "ratio_above").mean(),
        pl.col("layer_norm").median(),
    )  # fmt: skip


def places(cells: pl.DataFrame, among: pl.DataFrame) -> str:
    """Where some cells are among others, such as "d = 64"; "" if that is everywhere.

    Their values on each axis, if these make a grid; their number and what they share, if not.
    """
    conditions, all_of = values_of(cells, "condition"), values_of(among, "condition")
    axes = varied(among.filter("decomposes"), (*PLACE, *SHARED))
    own = {axis: values_of(cells, axis) for axis in axes if values_of(cells, axis)}
    if len(conditions) == len(all_of) or not own:
        return ""
    if math.prod(map(len, own.values())) == len(conditions):
        return setting(cells, [*own])
    shared = [axis for axis in own if len(own[axis]) < len(values_of(among, axis))]
    only = f", all with {setting(cells, shared)}" if shared else ""
    return f"{len(conditions)} of {len(all_of)} conditions{only}"


def pairs(cells: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    """The conditions of both contestants; the columns of `other` end in `_right`."""
    return cells.filter(contestant=one).join(
        cells.filter(contestant=other), on="condition", maintain_order="left"
    )


# What is shown. A random seed gives every method the same initial weights and the same order of the
# data, so that trials are paired by it.


def against(trials: pl.DataFrame, reference: str) -> dict[str, Decision]:
    """By contestant: whether it finishes more or fewer trials than the reference.

    The exact sign test over random seeds (McNemar's test, where there is one condition). The trials
    of a seed in several conditions are no independent ones: they are added up.
    """
    known = trials.filter(pl.col("outcome").is_in(["finished", "diverged", "exception"]))
    known = known.select(
        "contestant", "condition", "seed", finished=(pl.col("outcome") == "finished").cast(int)
    )
    theirs = known.filter(contestant=reference).drop("contestant")
    ours = known.filter(pl.col("contestant") != reference)
    gains = (
        ours.join(theirs, on=["condition", "seed"], maintain_order="left")
        .group_by("contestant", "seed", maintain_order=True)
        .agg(gain=(pl.col("finished") - pl.col("finished_right")).mean())
    )
    found = {}
    for (name,), own in gains.group_by("contestant", maintain_order=True):
        gain = own["gain"].to_numpy()
        p = discordant(int((gain < 0).sum()), int((gain > 0).sum()))
        found[str(name)] = Interval(float(gain.mean()), p=p, least_p=discordant(len(gain), 0))
    return dict(zip(found, decide([*found.values()]), strict=True))
