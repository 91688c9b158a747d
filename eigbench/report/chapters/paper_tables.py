"""What was trained beside what the paper trained, and the paper's tables in the paper's shape."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eigbench.kinds.train import TrainCase
from eigbench.report import paper, stats
from eigbench.report.chapters.trials import IMAGES, PLACE, SHARED, WITHOUT
from eigbench.report.frame import Frames, values_of
from eigbench.report.names import label, varied, word
from eigbench.report.numbers import NOTHING, axis_value, counted, percent, percentage, rate
from eigbench.report.paper import Printed
from eigbench.report.render import Chapter, both, escape, render, table
from eigbench.runs.suite import kind_of, seeds_of

HELD_OUT = 0.1
"""The share of the training images on which nothing is trained, as `measure.trial` splits them."""

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

    def key(self, row: Row, also: Sequence[str] = ()) -> Key:
        """Row and column of a cell. What is not as in the paper is said in the row's name.

        `also` are further axes to say, that the table's setting does not name.
        """
        name, without = [row[self.rows]], row["layer"] in WITHOUT
        for axis in (axis for axis in AXES if axis in self.setting or axis in also):
            value = row[axis]
            said = value is None or axis in {self.rows, self.columns}
            implied = without and axis in {"layer", "method"}
            if not said and not implied and value not in self.setting.get(axis, ()):
                name.append(word(axis, value))
        if self.columns is None:
            return ", ".join(name), None
        return ", ".join(name), row["layer"] if without else row[self.columns]


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


ANSWERS = ("reproduced", "not reproduced", "inconclusive")


@dataclass(frozen=True)
class Outcome:
    """What became of one success rate that the paper prints: one of `ANSWERS`, and why."""

    table: str
    """Such as "Table 2"."""
    row: str
    axis: str | None
    column: Any
    """Its value on the axis of the table's columns, if there is one."""
    printed: str
    cell: Row
    answer: str
    reason: str


def outcomes(compare: str, cells: pl.DataFrame) -> list[Outcome]:
    """Each printed success rate of which a cell started trials, and whether it was reproduced."""
    return [one for shape, own in tables(compare, cells) for one in _outcomes(shape, own)]


def _outcomes(shape: Shape, cells: pl.DataFrame) -> list[Outcome]:
    found = []
    for key, cell in placed(shape, cells).items():
        printed = shape.printed.get(key)
        if printed is None or printed.success is None or not cell["started"]:
            continue
        successes = round(printed.success / 100 * shape.trials)
        found.append(Outcome(
            shape.title.split(":")[0], key[0], shape.columns, key[1],
            f"{percent(printed.success / 100)}, {successes} of {shape.trials}",
            cell, *judge(cell, (successes, shape.trials)),
        ))  # fmt: skip
    return found


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
    if cells.is_empty() or len(shapes) == 1:
        return [(shape, cells) for shape in shapes]  # whatever was added to the table's own
    return [
        (shape, cells.filter(pl.col("layer").is_in([*shape.setting["layer"], *WITHOUT])))
        for shape in shapes
    ]


def placed(shape: Shape, cells: pl.DataFrame) -> dict[Key, Row]:
    """Every cell with its row and column; what varies between cells is said, so none is lost."""
    also = [axis for axis in varied(cells, AXES) if axis not in shape.setting]
    found: dict[Key, Row] = {}
    for cell in cells.iter_rows(named=True):
        row, column = shape.key(cell, also)
        # A parameter that has no axis can be all that tells two cells apart.
        known = (row, column) in found
        found[f"{row} (`{cell['parameters']}`)" if known else row, column] = cell
    return found


def chapters(frames: Frames, cells: pl.DataFrame) -> list[Chapter]:
    """The paper's tables that the suite names, and what else the paper prints of trainings."""
    compare = frames.run.suite.compare
    papers = is_papers(frames, cells)
    parts = []
    for shape, own in tables(compare, cells):
        body = render(
            "training-paper-table",
            cells=_in_shape(shape, placed(shape, own), papers=papers),
            trials=shape.trials,
            papers=papers,
            steps=paper.STEPS,
            judged=_judged(_outcomes(shape, own)),
            is_table_2=shape.printed is paper.TABLE_2,
            is_table_5=shape.printed is paper.TABLE_5,
            truncated=_truncated(own),
        )
        parts.append(Chapter(f"{shape.title}, beside the paper", body))
    return [*parts, *_ranks(cells)]


def _judged(found: Sequence[Outcome]) -> str:
    rows = [
        [one.row if one.axis is None else f"{one.row}, {word(one.axis, one.column)}",
         one.printed, counted(one.cell["finished"], one.cell["started"]),
         rate(stats.hazard(one.cell["diverged"], one.cell["total_steps"])),
         one.answer, one.reason]
        for one in found
    ]  # fmt: skip
    headers = ["cell", "paper", "here", "failures a step", "answer", "why"]
    return table(headers, rows) if rows else ""


def _truncated(cells: pl.DataFrame) -> Row | None:
    """What PI keeps at the largest d beside the hybrid, where both truncate by their own rule."""
    own = cells.filter((pl.col("layer") == "zca") & pl.col("truncation").is_null()
                       & pl.col("rank_kept").is_not_null())  # fmt: skip
    both_have = [d for d in values_of(own, "d")
                 if {"pi", "hybrid"} <= set(own.filter(pl.col("d") == d)["method"])]  # fmt: skip
    if not both_have:
        return None
    rows = {row["method"]: row for row in own.filter(pl.col("d") == both_have[-1]).to_dicts()}
    return {
        "d": both_have[-1],
        "pi": rows["pi"]["rank_kept"],
        "hybrid": rows["hybrid"]["rank_kept"],
    }


def _in_shape(shape: Shape, found: Mapping[Key, Row], *, papers: bool) -> str:
    """Rows and columns of the paper, two for each of its columns: the paper's and ours."""
    keys = [*shape.printed, *found]
    rows = list(dict.fromkeys(row for row, _ in keys))
    columns = list(dict.fromkeys(column for _, column in keys))
    headers = [{"method": "method", "model": "network"}[shape.rows], ""]
    for column in columns:
        named = (
            "" if column is None or shape.columns is None else f"{word(shape.columns, column)}, "
        )
        if isinstance(column, str):
            named = f"{column}, "
        headers += [f"{named}paper", f"{named}here"]
    body = []
    for row in rows:
        for quantity, printed, measured in QUANTITIES[: None if papers else 1]:
            line = [row, quantity]
            for column in columns:
                one, cell = shape.printed.get((row, column)), found.get((row, column))
                line.append(NOTHING if one is None else printed(one))
                line.append(NOTHING if cell is None or not cell["started"] else measured(cell))
            body.append(line)
    return table(headers, body)


def _number(value: float | None) -> str:
    return NOTHING if value is None else "NaN" if math.isnan(value) else f"{value:.2f}"


def _mean(printed: Printed) -> str:
    spread = "" if printed.deviation is None else f" ± {printed.deviation:.2f}"
    return f"{_number(printed.mean)}{spread}"


def _mean_here(cell: Row) -> str:
    errors = [100 * error for error in cell["errors"]]
    if not errors:
        return NOTHING
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{statistics.fmean(errors):.2f}{spread}"


QUANTITIES: tuple[tuple[str, Callable[[Printed], str], Callable[[Row], str]], ...] = (
    ("success",
     lambda one: NOTHING if one.success is None else percent(one.success / 100),
     lambda cell: f"{cell['finished']} of {cell['started']}"),
    ("least error, %",
     lambda one: _number(one.minimum),
     lambda cell: f"{100 * min(cell['errors']):.2f}" if cell["errors"] else NOTHING),
    ("mean error, %", _mean, _mean_here),
)  # fmt: skip


def _ranks(cells: pl.DataFrame) -> list[Chapter]:
    """How many eigenvectors a share of the variance takes, beside §3.2."""
    body = []
    own = cells.filter(pl.col("energy").is_not_null() & pl.col("rank_kept").is_not_null())
    for energy in values_of(own, "energy"):
        ranks = own.filter(pl.col("energy") == energy)
        below, about = paper.RANK_BELOW.get(energy), paper.RANK_ABOUT.get(energy)
        printed = f"below {below}" if below else f"about {about}" if about else NOTHING
        means = [f"{row['contestant']} {row['rank_kept']:.1f}" for row in ranks.to_dicts()]
        inside = below is not None and max(ranks["rank_kept"].to_list()) < below
        answer = NOTHING if below is None else "yes" if inside else "no"
        body.append([percentage(energy), printed, ", ".join(means), answer])
    if not body:
        return []
    headers = ["variance kept", "paper, e", "here, mean e", "mean below the paper's"]
    return [Chapter("Eigenvectors that a share of the variance takes, beside the paper (§3.2)",
                    render("training-ranks", table=table(headers, body)))]  # fmt: skip


# What was trained, and what the paper trained.


def settings(frames: Frames, cells: pl.DataFrame) -> list[tuple[str, str, str, bool]]:
    """What it is, this run's, the paper's, and whether they differ."""
    suite = frames.run.suite
    trials = paper.TRIALS.get(suite.compare, paper.USUAL_TRIALS)
    counts = sorted(set(cells.filter(pl.col("skipped") == 0)["started"].to_list()))
    planned = max((seeds_of(suite, grid) for grid in suite.grids
                   if kind_of(suite, grid) == "train"), default=suite.seeds)  # fmt: skip
    its_data = ITS_DATA.get(suite.compare, ("cifar10",))
    train, test = IMAGES[its_data[0]]
    devices = list(dict.fromkeys(s.device for s in frames.run.environment.sessions))
    held_out = f"of which {percent(HELD_OUT)} are held out"

    def differs(axis: str, *usual: Any) -> bool:
        return any(value not in usual for value in cells[axis].unique().to_list())

    rows = [
        ("trials", _trials(counts, planned), _paper_trials(frames),
         min([planned, *counts]) < trials),
        ("epochs", _listed(cells, "epochs"), f"{paper.EPOCHS}", differs("epochs", paper.EPOCHS)),
        ("steps a trial", _steps(cells), f"{paper.STEPS:,}", differs("steps", None)),
        ("data", escape(_listed(cells, "data")), " or ".join(its_data), differs("data", *its_data)),
        ("training images", f"{_images(cells, 'train_images', 0)}, {held_out}",
         f"{train:,}; whether some were held out is not printed",
         differs("train_images", None, train)),
        ("test images", _images(cells, "test_images", 1), f"{test:,}",
         differs("test_images", None, test)),
        ("truncation", _listed(cells, "truncation") if differs("truncation", None)
         else "each method's own", "Algorithm 1", differs("truncation", None)),
        ("device", ", ".join(devices) or suite.device, "one Titan Xp", False),
    ]  # fmt: skip
    for axis, usual in USUAL.items():
        varies = axis == "iterations" and suite.compare == "table-4c"
        rows.append((label(axis).replace("_", " "), _listed(cells, axis),
                     "varied" if varies else axis_value(usual),
                     not varies and differs(axis, None, usual)))  # fmt: skip
    return rows


def is_papers(frames: Frames, cells: pl.DataFrame) -> bool:
    """Whether nothing that `settings` names differs from the paper."""
    return not any(differs for *_, differs in settings(frames, cells))


def banner(frames: Frames, cells: pl.DataFrame) -> list[str]:
    """Lines for under the title: whether this is the paper's experiment; different images."""
    found = settings(frames, cells)
    facts = {what: here for what, here, *_ in found}
    lines = render(
        "training-banner",
        papers=not any(differs for *_, differs in found),
        scale=frames.run.suite.scale,
        facts=facts,
        images=_images(cells, "train_images", 0),
        networks=both(f"{m} of width {_listed(cells, 'width')}" for m in values_of(cells, "model")),
        paper=paper,
        trials=_paper_trials(frames),
        different=_different_images(frames),
        differing=[what for what, *_, differs in found if differs],
    )
    return [f"> {line}" for line in lines.splitlines() if line]


def title(frames: Frames, cells: pl.DataFrame) -> str:
    """What the run is: the paper's table, or its grid at so many steps; "" of another suite."""
    names = [name for name in frames.run.suite.compare.split() if name in SHAPES]
    if not names:
        return ""
    named = both(SHAPES[name].title.split(":")[0] for name in names)
    if is_papers(frames, cells):
        return named
    steps = _steps(cells)
    return f"{named}’s grid" + (f" at {steps} steps a trial" if steps != NOTHING else "")


def settings_chapter(frames: Frames, cells: pl.DataFrame) -> Chapter:
    """What was trained, beside what the paper trained."""
    rows = [
        [f"**{what}**" if differs else what, here, papers]
        for what, here, papers, differs in settings(frames, cells)
    ]
    body = render("training-settings", table=table(["", "this run", "the paper"], rows))
    return Chapter("What was trained, and what the paper trained", body)


def _paper_trials(frames: Frames) -> str:
    compare = frames.run.suite.compare
    if compare in paper.TRIALS or compare in SHAPES:
        return f"{paper.TRIALS.get(compare, paper.USUAL_TRIALS)}"
    return " or ".join(f"{count}" for count in (*paper.TRIALS.values(), paper.USUAL_TRIALS))


def _trials(counts: Sequence[int], planned: int) -> str:
    if not counts or list(counts) == [planned]:
        return f"{planned}" if counts else f"0 of {planned}"
    return f"{' to '.join(dict.fromkeys(map(str, (counts[0], counts[-1]))))} of {planned}"


def _steps(cells: pl.DataFrame) -> str:
    planned = cells["planned_steps"].drop_nulls().cast(pl.Int64).unique().sort().to_list()
    return ", ".join(f"{steps:,}" for steps in planned) or NOTHING


def _listed(cells: pl.DataFrame, axis: str) -> str:
    return ", ".join(axis_value(value) for value in values_of(cells, axis)) or NOTHING


def _images(cells: pl.DataFrame, axis: str, split: int) -> str:
    """How many images of a split are used; "all" of a set of unknown size."""
    counts = {row[axis] or IMAGES.get(row["data"], (None, None))[split] for row in cells.to_dicts()}
    known = [f"{count:,}" for count in sorted(count for count in counts if count is not None)]
    return ", ".join(known + ["all"] * (None in counts))


def _different_images(frames: Frames) -> list[str]:
    """The sets of images that the records name, where they name more than one."""
    named = [r.labels.get("data", []) for _, r in frames.records(TrainCase, "measured")]
    training = sorted({tuple(words[:2]) for words in named if len(words) > 1})
    testing = sorted({(words[0], words[2]) for words in named if len(words) > 2})
    if max(len(training), len(testing)) < 2:
        return []
    return [f"{escape(name)} {digest[:8]}" for name, digest in [*training, *testing]]
