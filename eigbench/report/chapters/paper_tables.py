"""What was trained beside what the paper trained, and the paper's tables in the paper's shape."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report import paper
from eigbench.report.chapters import trials
from eigbench.report.chapters.trials import EXACT, IMAGES, WITHOUT
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import label, word
from eigbench.report.numbers import NOTHING, axis_value, count, percent
from eigbench.report.paper import Printed
from eigbench.report.render import Chapter, escape, render, table

ITS_DATA = {"table-3": ("cifar100",), "": ("cifar10", "cifar100")}
"""The images of the paper's tables and figures; the others are of CIFAR-10."""

USUAL: dict[str, Any] = {
    "augment": True, "width": paper.WIDTH, "batch": paper.BATCH, "precision": "float32",
    "learning_rate": 0.1, "schedule": "steps", "momentum": 0.9, "weight_decay": 5e-4,
    "nesterov": False, "label_smoothing": 0.0, "epsilon": paper.EPSILON, "iterations": paper.K,
    "truncation": "algorithm-1",
}  # fmt: skip
"""The paper's setting, axis by axis; the recipe is that of its authors' released program."""

RELEASED = "-released"
"""How the names of the paper's baselines end here, where they are as its authors' program has them:
with its truncation."""

LEAST_CELLS = 5
"""The order of fewer mean errors is not compared with the printed one."""

Key = tuple[str, Any]
Row = dict[str, Any]
Values = Mapping[str, Collection[Any]]
"""Axis: the values with which a cell is what the paper printed."""

COMMON: Values = {"model": ["resnet18"], "iterations": [paper.K], "epsilon": [paper.EPSILON],
                  "data": ["cifar10", "cifar10-mini"]}  # fmt: skip
ZCA: Values = {**COMMON, "layer": ["zca"]}
PCA: Values = {**COMMON, "layer": ["pca"], "components": [], "energy": [0.99]}


@dataclass(frozen=True)
class Shape:
    """A table of the paper: what makes its rows and columns, and what its cells share."""

    title: str
    printed: paper.Cells
    rows: str
    columns: str | None
    values: Values
    trials: int = 5
    """Trainings of a cell (§3.2)."""

    @property
    def name(self) -> str:
        """Such as "Table 2"."""
        return self.title.split(":")[0]

    def at(self, row: str, column: Any) -> Printed:
        """What is printed there; of a baseline as the authors released it, that baseline's row."""
        return self.printed.get((row.removesuffix(RELEASED), column), Printed())


SHAPES = {
    "table-2": Shape("Table 2: ZCA whitening on CIFAR-10, ResNet18", paper.TABLE_2,
                     "method", "d", ZCA, trials=15),
    "table-3": Shape("Table 3: ZCA whitening by the hybrid on CIFAR-100", paper.TABLE_3,
                     "model", "d", {**ZCA, "method": ["hybrid"], "data": ["cifar100"]}),
    "table-4a": Shape("Table 4(a): PCA denoising by the share of the variance kept",
                      paper.TABLE_4A, "method", "energy", PCA),
    "table-4b": Shape("Table 4(b): PCA denoising by the number of eigenvectors",
                      paper.TABLE_4B, "method", "components", {**PCA, "energy": []}),
    "table-4c": Shape("Table 4(c): PCA denoising by the number of power iterations",
                      paper.TABLE_4C, "method", "iterations", {**PCA, "energy": [0.999]}),
    "table-5": Shape("Table 5: PCA denoising by method", paper.TABLE_5, "method", None, PCA),
}  # fmt: skip


def tables(compare: str) -> list[Shape]:
    """The tables that a suite names."""
    return [SHAPES[name] for name in compare.split() if name in SHAPES]


def placed(shape: Shape, cells: pl.DataFrame) -> dict[Key, Row]:
    """The cells that are as the paper's, by row and column; and the exact gradient beside them."""
    found: dict[Key, Row] = {}
    for cell in cells.iter_rows(named=True):
        own = {None, cell["method"]}
        if not cell["method"].endswith(RELEASED):
            own.add(USUAL["truncation"])
        key = key_of(shape, cell) if cell["truncation"] in own else None
        if key is not None:
            found.setdefault(key, cell)
    return found


def key_of(shape: Shape, cell: Row) -> Key | None:
    """Row and column of a cell that is as the paper's, but for its truncation; None if it is not.

    Of a method of the paper, or the exact gradient.
    """
    rows, columns = ({*names} for names in zip(*shape.printed, strict=True))
    bare = cell["layer"] in WITHOUT  # a row or a column of its own, where the paper has it
    free = (shape.rows, shape.columns, *(("layer", "method") if bare else ()))
    row, column = cell[shape.rows], shape.columns and cell["layer" if bare else shape.columns]
    known = row == EXACT or row.removesuffix(RELEASED) in rows
    alike = all(
        cell[axis] is None or cell[axis] in values
        for axis, values in shape.values.items()
        if axis not in free
    )
    return (row, column) if alike and known and (not bare or column in columns) else None


def chapters(frames: Frames, cells: pl.DataFrame) -> list[Chapter]:
    """The paper's tables that the suite names, beside what was measured."""
    papers = not differing(frames, cells)
    parts = []
    for shape in tables(frames.run.suite.compare):
        own = placed(shape, cells)
        body = render(
            "training-paper-table",
            cells=_in_shape(shape, own, papers=papers),
            order=None if papers else _order(shape, own),
            released=dict.fromkeys(f"`{row}`" for row, _ in own if row.endswith(RELEASED)),
            trials=shape.trials,
            papers=papers,
            name=shape.name,
        )
        parts.append(Chapter(f"{shape.title}, beside the paper", body))
    return parts


def _in_shape(shape: Shape, found: Mapping[Key, Row], *, papers: bool) -> str:
    """Rows and columns of the paper; in a cell what was measured, and in brackets what it prints.

    Errors only of the paper's own experiment.
    """
    names, columns = (dict.fromkeys(some) for some in zip(*shape.printed, *found, strict=True))
    places = {name: place for place, name in enumerate(names)}
    quantities = ("finished", "least error, %", "mean error, %")[: 3 if papers else 1]
    body = []
    for row in sorted(names, key=lambda name: places.get(name.removesuffix(RELEASED), len(places))):
        pairs = [(_here(found.get((row, column))), _printed(shape.at(row, column)))
                 for column in columns]  # fmt: skip
        for i, quantity in enumerate(quantities):
            body.append([row, quantity, *(
                here[i] + (f" ({printed[i]})" if printed[i] != NOTHING else "")
                for here, printed in pairs
            )])  # fmt: skip
    heads = [column if isinstance(column, str) else word(shape.columns or "", column)
             for column in columns]  # fmt: skip
    return table([label(shape.rows), "", *heads], body)


def _order(shape: Shape, found: Mapping[Key, Row]) -> dict[str, float] | None:
    """How alike the order of the mean errors is to the printed one; None for few cells.

    Cells after few steps, with a network at chance, or with a trial that did not finish, are left
    out.
    """
    from scipy import stats

    sound = {
        key: statistics.fmean(cell["errors"])
        for key, cell in found.items()
        if (cell["steps_planned"] or 0) > trials.FEW_STEPS
        and 0 < cell["finished"] == cell["started"]
        and cell["errors"] and not any(cell["guesses"])
    }  # fmt: skip
    means = [(own, shape.at(*key).mean) for key, own in sound.items()]
    both = [(own, mean) for own, mean in means if mean is not None and not math.isnan(mean)]
    if len(both) < LEAST_CELLS:
        return None
    rank = stats.kendalltau(*zip(*both, strict=True))
    return {"cells": len(both), "rank": float(rank.statistic), "p": float(rank.pvalue)}


def _printed(one: Printed) -> tuple[str, str, str]:
    success = NOTHING if one.success is None else percent(one.success / 100)
    return success, _error(one.minimum), _error(one.mean, one.deviation)


def _here(cell: Row | None) -> tuple[str, str, str]:
    if cell is None or not cell["started"]:
        return NOTHING, NOTHING, NOTHING
    errors = [100 * error for error in cell["errors"]]
    mean = _error(
        statistics.fmean(errors) if errors else None,
        statistics.stdev(errors) if len(errors) > 1 else None,
    )
    return f"{cell['finished']} of {cell['started']}", _error(min(errors, default=None)), mean


def _error(value: float | None, deviation: float | None = None) -> str:
    if value is None or math.isnan(value):
        return NOTHING if value is None else "NaN"
    return f"{value:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def differing(frames: Frames, cells: pl.DataFrame) -> dict[str, str]:
    """What was set otherwise than in the paper: this run's values, in brackets the paper's."""
    compare = frames.run.suite.compare
    data = ITS_DATA.get(compare, ("cifar10",))
    papers = {
        "started": sorted({shape.trials for shape in tables(compare) or SHAPES.values()}),
        "steps": [paper.STEPS], "epochs": [paper.EPOCHS], "data": data,
        "train_images": IMAGES[data[0]][:1], "test_images": IMAGES[data[0]][1:],
        **{axis: [value] for axis, value in USUAL.items()},
    }  # fmt: skip
    if compare == "table-4c":
        papers.pop("iterations")  # which it varies
    whole = [pl.col("data").replace_strict({name: sizes[split] for name, sizes in IMAGES.items()},
                                           default=None, return_dtype=pl.Int64)
             for split in (0, 1)]  # fmt: skip
    known = cells.filter(skipped=0).with_columns(
        pl.col("train_images").cast(pl.Int64).fill_null(whole[0]),
        pl.col("test_images").cast(pl.Int64).fill_null(whole[1]),
    )
    names = {"started": "trials", "data": "data"}
    found = {}
    for axis, values in papers.items():
        own = values_of(known, axis)
        if any(value not in values for value in own):
            what = names.get(axis) or label(axis).replace("_", " ")
            found[what] = f"{_written(own)} ({_written(values, ' or ')})"
    return found


def _written(values: Iterable[Any], between: str = ", ") -> str:
    """Values in words; whole numbers with thousands."""
    return between.join(
        count(value) if type(value) is int else escape(axis_value(value)) for value in values
    )


def banner(frames: Frames, cells: pl.DataFrame) -> list[str]:
    """Lines for under the title: whether this is the paper's experiment; different images."""
    labels = {tuple(r.labels.get("data", [])) for _, r in frames.records(TrainCase, "measured")}
    images = sorted(f"{escape(name)} {' '.join(digest[:8] for digest in digests)}"
                    for name, *digests in filter(None, labels))  # fmt: skip
    devices = dict.fromkeys(session.device for session in frames.run.environment.sessions)
    lines = render(
        "training-banner",
        differing=differing(frames, cells),
        models=values_of(cells, "model"),
        steps=_written(values_of(cells, "steps_planned")),
        papers=paper.STEPS,
        device=", ".join(devices) or frames.run.suite.device,
        different=images if len(images) > 1 else [],
    )
    return [f"> {line}" for line in lines.splitlines() if line]
