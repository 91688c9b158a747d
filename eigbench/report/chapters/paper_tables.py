"""What was trained beside what the paper trained, and the paper's tables in the paper's shape."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report import paper, stats
from eigbench.report.chapters.trials import IMAGES, PLACE, SHARED, WITHOUT
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import label, listed, varied, word, words
from eigbench.report.numbers import NOTHING, axis_value, count, percent, percentage, span
from eigbench.report.paper import Printed
from eigbench.report.render import Chapter, both, escape, render, table

ITS_DATA = {"table-3": ("cifar100",), "": ("cifar10", "cifar100")}
"""The images of the paper's tables and figures; the others are of CIFAR-10."""

USUAL: dict[str, Any] = {
    "augment": True, "width": paper.WIDTH, "batch": paper.BATCH, "precision": "float32",
    "learning_rate": 0.1, "schedule": "steps", "momentum": 0.9, "weight_decay": 5e-4,
    "nesterov": False, "label_smoothing": 0.0, "epsilon": paper.EPSILON, "iterations": paper.K,
}  # fmt: skip
"""The paper's setting, axis by axis; the recipe is that of its authors' released program."""

AXES = (*dict.fromkeys(["method", *PLACE, "iterations", "data", *SHARED]),)
Key = tuple[str, Any]
Row = dict[str, Any]
Setting = Mapping[str, Collection[Any]]
"""Axis: the values with which a cell is what the paper printed."""

COMMON: Setting = {"model": ["resnet18"], "iterations": [paper.K], "epsilon": [paper.EPSILON],
                   "truncation": [None], "data": ["cifar10", "cifar10-mini"]}  # fmt: skip
ZCA: Setting = {**COMMON, "layer": ["zca"], "components": [None], "energy": [None]}
PCA: Setting = {**COMMON, "layer": ["pca"], "components": [None], "energy": [0.99], "d": [None]}


@dataclass(frozen=True)
class Shape:
    """A table of the paper: what makes its rows and columns, and what its cells share."""

    title: str
    printed: paper.Cells
    rows: str
    columns: str | None
    setting: Setting
    trials: int = paper.USUAL_TRIALS

    @property
    def name(self) -> str:
        """Such as "Table 2"."""
        return self.title.split(":")[0]

    def at(self, row: str, column: Any) -> Printed:
        """What is printed there; of a baseline as the authors released it, that baseline's row."""
        return self.printed.get((row.removesuffix(RELEASED), column), Printed())


SHAPES = {
    "table-2": Shape("Table 2: ZCA whitening on CIFAR-10, ResNet18", paper.TABLE_2,
                     "method", "d", ZCA, paper.TRIALS["table-2"]),
    "table-3": Shape("Table 3: ZCA whitening by the hybrid on CIFAR-100", paper.TABLE_3,
                     "model", "d", {**ZCA, "method": ["hybrid"], "data": ["cifar100"]}),
    "table-4a": Shape("Table 4(a): PCA denoising by the share of the variance kept",
                      paper.TABLE_4A, "method", "energy", PCA),
    "table-4b": Shape("Table 4(b): PCA denoising by the number of eigenvectors",
                      paper.TABLE_4B, "method", "components", {**PCA, "energy": [None]}),
    "table-4c": Shape("Table 4(c): PCA denoising by the number of power iterations",
                      paper.TABLE_4C, "method", "iterations", {**PCA, "energy": [0.999]}),
    "table-5": Shape("Table 5: PCA denoising by method", paper.TABLE_5, "method", None, PCA),
}  # fmt: skip

RELEASED = "-released"
"""How the names of the paper's baselines end here, where they are as its authors' program has them:
with its truncation."""

ANSWERS = ("reproduced", "not reproduced", "inconclusive")


@dataclass(frozen=True)
class Outcome:
    """What became of one success rate that the paper prints: one of `ANSWERS`, and why."""

    table: str
    row: str
    axis: str | None
    column: Any
    """Its value on the axis of the table's columns, if there is one."""
    cell: Row
    answer: str
    reason: str


def outcomes(compare: str, cells: pl.DataFrame) -> list[Outcome]:
    """Each printed success rate of which a cell started trials, and whether it was reproduced."""
    found = []
    for shape, own in tables(compare, cells):
        for key, cell in placed(shape, own).items():
            printed = shape.at(*key)
            if printed.success is None or not cell["started"]:
                continue
            successes = round(printed.success / 100 * shape.trials)
            answer, reason = judge(cell, (successes, shape.trials))
            found.append(Outcome(shape.name, key[0], shape.columns, key[1], cell, answer, reason))
    return found


def grouped(found: Sequence[Outcome]) -> list[Row]:
    """A row for those with the same answer for the same reason; `where` lists their cells."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Outcome]]] = {}
    for one in sorted(found, key=lambda one: ANSWERS.index(one.answer)):
        group = groups.setdefault((one.answer, one.reason), {})
        group.setdefault((one.table, one.row), []).append(one)
    several = len({one.table for one in found}) > 1
    rows = []
    for (answer, reason), group in groups.items():
        where = []
        for (of_table, name), own in group.items():
            columns = listed(own[0].axis, [one.column for one in own]) if own[0].axis else ""
            at = "; ".join(filter(None, [of_table if several else "", columns]))
            where.append(f"{name} ({at})" if at else name)
        rows.append({"answer": answer, "reason": reason, "where": where, **own[0].cell})
    return rows


def judge(cell: Row, printed: stats.Share) -> tuple[str, str]:
    """Whether a cell's trials reproduce a printed success rate, and why.

    Trials differ in length from the paper's, so that hazards are compared: failures per step, as
    if each step were as likely to fail. The interval of the printed one is that of the printed
    share (Wilson), over the paper's steps.
    """
    measured = stats.hazard(cell["diverged"], cell["total_steps"])
    ends = stats.share(*printed)
    least, most = (
        1 - min(max(end, 1e-9), 1.0) ** (1 / paper.STEPS) for end in (ends.high, ends.low)
    )
    fails, failed = printed[0] < printed[1], cell["diverged"]
    if failed:
        steps = sorted({int(cell["first_failure"]), int(cell["last_failure"])})
        when = f"steps {steps[0]} to {steps[1]}" if len(steps) > 1 else f"step {steps[0]}"
        reason = f"{failed} of {cell['started']} diverged, in {when}"
        worse = measured.low > most
        return ("reproduced" if fails else "not reproduced" if worse else "inconclusive"), reason
    if cell["exceptions"]:
        return "inconclusive", f"{cell['exceptions']} of {cell['started']} ended in an exception"
    seen = f"{cell['total_steps']:,} steps without failure in {cell['started']} trials"
    if fails and measured.high < least:
        return "not reproduced", f"{seen}; the paper's rate is 1 in {1 / least:,.0f} or more"
    if not fails and measured.high <= most:
        return "reproduced", seen
    unseen = math.floor(1 / measured.high) if measured.high else 0
    return "inconclusive", f"{seen}: rates below 1 in {unseen:,} steps cannot be seen"


def tables(compare: str, cells: pl.DataFrame) -> list[tuple[Shape, pl.DataFrame]]:
    """The shapes of the tables that the suite names, and the cells of each."""
    shapes = [SHAPES[name] for name in compare.split() if name in SHAPES]
    # A table that is alone takes whatever was added to its own cells.
    return [
        (shape, cells.filter(pl.col("layer").is_in([*shape.setting["layer"], *WITHOUT])
                             | (len(shapes) == 1)))
        for shape in shapes
    ]  # fmt: skip


def placed(shape: Shape, cells: pl.DataFrame) -> dict[Key, Row]:
    """Every cell with its row and column; what is not as in the paper is said in the row's name."""
    told = {*shape.setting, *varied(cells, AXES)} - {shape.rows, shape.columns}
    found: dict[Key, Row] = {}
    for cell in cells.iter_rows(named=True):
        without = cell["layer"] in WITHOUT
        other = [
            axis for axis in AXES
            if axis in told and cell[axis] not in shape.setting.get(axis, ())
            and not (without and axis in {"layer", "method"})
            and not (axis == "truncation" and cell[axis] == cell["method"])  # its own, by its name
        ]  # fmt: skip
        row = ", ".join(filter(None, [cell[shape.rows], words(cell, other)]))
        column = shape.columns and (cell["layer"] if without else cell[shape.columns])
        # A parameter that has no axis can be all that tells two cells apart.
        known = (row, column) in found
        found[f"{row} (`{cell['parameters']}`)" if known else row, column] = cell
    return found


def chapters(frames: Frames, cells: pl.DataFrame, found: Sequence[Outcome]) -> list[Chapter]:
    """The paper's tables that the suite names, and what else the paper prints of trainings."""
    papers = is_papers(frames, cells)
    parts = []
    for shape, own in tables(frames.run.suite.compare, cells):
        judged = [
            [", ".join(group["where"]), group["answer"], group["reason"]]
            for group in grouped([one for one in found if one.table == shape.name])
        ]
        body = render(
            "training-paper-table",
            cells=_in_shape(shape, placed(shape, own), papers=papers),
            trials=shape.trials,
            papers=papers,
            judged=table(["cells", "answer", "why"], judged) if judged else "",
            is_table_2=shape.printed is paper.TABLE_2,
            is_table_5=shape.printed is paper.TABLE_5,
        )
        parts.append(Chapter(f"{shape.title}, beside the paper", body))
    trained = [
        [f"**{what}**" if differs else what, here, theirs]
        for what, here, theirs, differs in settings(frames, cells)
    ]
    body = render("training-settings", table=table(["", "this run", "the paper"], trained))
    title = "What was trained, and what the paper trained"
    return [*parts, *_ranks(cells), *_ratios(cells), Chapter(title, body)]


def _in_shape(shape: Shape, found: Mapping[Key, Row], *, papers: bool) -> str:
    """Rows and columns of the paper, two for each of its columns: the paper's and ours."""
    names, columns = (dict.fromkeys(names) for names in zip(*shape.printed, *found, strict=True))
    places = {name: place for place, name in enumerate(names)}
    rows = sorted(names, key=lambda name: places.get(name.removesuffix(RELEASED), len(places)))
    headers = [label(shape.rows), ""]
    for column in columns:
        told = column if isinstance(column, str) else word(shape.columns or "", column)
        headers += [", ".join(filter(None, (told, whose))) for whose in ("paper", "here")]
    body = []
    for row in rows:
        texts = [text for column in columns
                 for text in (_printed(shape.at(row, column)),
                              _here(found.get((row, column))))]  # fmt: skip
        for i, quantity in enumerate(("success", "least error, %", "mean error, %")):
            body.append([row, quantity, *(text[i] for text in texts)])
    return table(headers, body if papers else body[::3])


def _printed(one: Printed) -> list[str]:
    success = NOTHING if one.success is None else percent(one.success / 100)
    return [success, *_errors(one.minimum, one.mean, one.deviation)]


def _here(cell: Row | None) -> list[str]:
    if cell is None or not cell["started"]:
        return [NOTHING] * 3
    errors = [100 * error for error in cell["errors"]]
    mean = statistics.fmean(errors) if errors else None
    deviation = statistics.stdev(errors) if len(errors) > 1 else None
    success = f"{cell['finished']} of {cell['started']}"
    return [success, *_errors(min(errors, default=None), mean, deviation)]


def _errors(least: float | None, mean: float | None, deviation: float | None) -> tuple[str, str]:
    two = [NOTHING if e is None else "NaN" if math.isnan(e) else f"{e:.2f}" for e in (least, mean)]
    return two[0], two[1] + ("" if deviation is None else f" ± {deviation:.2f}")


def _ranks(cells: pl.DataFrame) -> list[Chapter]:
    """How many eigenvectors a share of the variance takes, beside §3.2."""
    body = []
    own = cells.filter(pl.col("energy").is_not_null(), pl.col("rank_kept").is_not_null())
    for energy in values_of(own, "energy"):
        below, about = paper.RANK_BELOW.get(energy), paper.RANK_ABOUT.get(energy)
        ranks = own.filter(energy=energy).select("contestant", "rank_kept").rows()
        body.append([
            percentage(energy),
            f"below {below}" if below else f"about {about}" if about else NOTHING,
            ", ".join(f"{name} {rank:.1f}" for name, rank in ranks),
            NOTHING if below is None else "no" if any(r >= below for _, r in ranks) else "yes",
        ])  # fmt: skip
    headers = ["variance kept", "paper, e", "here, mean e", "mean below the paper's"]
    title = "Eigenvectors that a share of the variance takes, beside the paper (§3.2)"
    text = render("training-ranks", table=table(headers, body))
    return [Chapter(title, text)] if body else []


def _ratios(cells: pl.DataFrame) -> list[Chapter]:
    """The ratio of neighbouring eigenvalues by both ways to count, beside §2.4."""
    found = {name: cells[name].drop_nulls() for name in ("ratio", "ratio_above")}
    if found["ratio"].is_empty():
        return []
    facts = {
        name: {"span": span(ratios.to_list(), lambda value: f"{value:.2f}"), "cells": len(ratios),
               "inside": ratios.round(2).is_between(*paper.NEIGHBOUR_RATIO).sum()}
        for name, ratios in found.items()
    }  # fmt: skip
    body = render("training-ratios", **facts, low=paper.NEIGHBOUR_RATIO[0],
                  high=paper.NEIGHBOUR_RATIO[1])  # fmt: skip
    return [Chapter("Ratio of neighbouring eigenvalues, beside the paper (§2.4)", body)]


# What was trained, and what the paper trained.


def settings(frames: Frames, cells: pl.DataFrame) -> list[tuple[str, str, str, bool]]:
    """What it is, this run's, the paper's, and whether they differ."""
    suite = frames.run.suite
    named = [SHAPES[name] for name in suite.compare.split() if name in SHAPES]
    trials = sorted({shape.trials for shape in named or SHAPES.values()})
    planned = int(cells["planned_trials"].max())  # type: ignore[arg-type]
    counts = sorted(set(cells.filter(pl.col("skipped") == 0)["started"].to_list()))
    begun = span(counts or [0], count) + ("" if counts == [planned] else f" of {planned}")
    devices = list(dict.fromkeys(s.device for s in frames.run.environment.sessions))
    data = ITS_DATA.get(suite.compare, ("cifar10",))
    train, test = IMAGES[data[0]]
    usual = {"epochs": (paper.EPOCHS,), "steps": (), "data": data, "train_images": (train,),
             "test_images": (test,), "truncation": (),
             **{axis: (value,) for axis, value in USUAL.items()}}  # fmt: skip
    if suite.compare == "table-4c":
        usual.pop("iterations")  # which it varies
    names = {"steps": "steps a trial", "data": "data"}
    here = {"steps": _steps(cells), "data": escape(_listed(cells, "data")),
            "train_images": _images(cells, "train_images", 0),
            "test_images": _images(cells, "test_images", 1)}  # fmt: skip
    papers = {"steps": count(paper.STEPS), "truncation": "Algorithm 1",
              "train_images": count(train), "test_images": count(test)}  # fmt: skip
    if not values_of(cells, "truncation"):
        here["truncation"] = "each method's own"
    return [
        ("trials", begun, both(map(str, trials), "or"), min([planned, *counts]) < trials[0]),
        ("device", ", ".join(devices) or suite.device, "one Titan Xp", False),
        *((names.get(axis) or label(axis).replace("_", " "), here.get(axis) or _listed(cells, axis),
           papers.get(axis) or both(map(axis_value, values), "or"),
           any(value not in values for value in values_of(cells, axis)))
          for axis, values in usual.items()),
    ]  # fmt: skip


def is_papers(frames: Frames, cells: pl.DataFrame) -> bool:
    """Whether nothing that `settings` names differs from the paper."""
    return not any(differs for *_, differs in settings(frames, cells))


def banner(frames: Frames, cells: pl.DataFrame) -> list[str]:
    """Lines for under the title: whether this is the paper's experiment; different images."""
    found = settings(frames, cells)
    lines = render(
        "training-banner",
        facts={what: here for what, here, *_ in found},
        papers={what: papers for what, _, papers, _ in found},
        images=_images(cells, "train_images", 0),
        networks=both(f"{m} of width {_listed(cells, 'width')}" for m in values_of(cells, "model")),
        different=_different_images(frames),
        differing=[what for what, *_, differs in found if differs],
    )
    return [f"> {line}" for line in lines.splitlines() if line]


def _steps(cells: pl.DataFrame) -> str:
    return ", ".join(map(count, values_of(cells, "steps_planned")))


def _listed(cells: pl.DataFrame, axis: str) -> str:
    return ", ".join(map(axis_value, values_of(cells, axis))) or NOTHING


def _images(cells: pl.DataFrame, axis: str, split: int) -> str:
    """How many images of a split are used; "all" of a set of unknown size."""
    counts = {row[axis] or IMAGES.get(row["data"], (None, None))[split] for row in cells.to_dicts()}
    known = map(count, sorted(one for one in counts if one is not None))
    return ", ".join([*known, *["all"] * (None in counts)])


def _different_images(frames: Frames) -> list[str]:
    """The sets of images that the records name, where they name more than one."""
    named = [r.labels.get("data", []) for _, r in frames.records(TrainCase, "measured")]
    training = sorted({tuple(words[:2]) for words in named if len(words) > 1})
    testing = sorted({(words[0], words[2]) for words in named if len(words) > 2})
    if max(len(training), len(testing)) < 2:
        return []
    return [f"{escape(name)} {digest[:8]}" for name, digest in [*training, *testing]]
