"""The paper's tables in the paper's shape, printed and measured side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eigbench.kinds.train import TrainCase
from eigbench.report import paper
from eigbench.report.markdown import NOTHING, percent, table
from eigbench.report.paper import Printed
from eigbench.report.training import writing
from eigbench.report.training.cells import WITHOUT, Cell
from eigbench.report.training.naming import AXES, varied, word

Key = tuple[str, Any]

CIFAR10 = ("cifar10", "cifar10-mini")
"""The paper's images, and those of them that ship with the package."""

Setting = Mapping[str, Collection[Any]]
"""Axis: the values with which a cell is what the paper printed."""

COMMON: Setting = {"model": ["resnet18"], "iterations": [paper.K], "epsilon": [paper.EPSILON],
                   "truncation": [None], "data": CIFAR10}  # fmt: skip
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
    remarks: Sequence[str] = ()
    flat: bool = False
    """Whether one value of the columns is a row, as Table 4 is printed."""

    def key(self, case: TrainCase, axes: Sequence[str] = ()) -> Key:
        """Row and column of a case. What is not as in the paper is said in the row's name.

        `axes` are further ones to say, that the table's setting does not name.
        """
        row = [getattr(case, self.rows)]
        for axis in (axis for axis in AXES if axis in self.setting or axis in axes):
            value = getattr(case, axis)
            said = value is None or axis in {self.rows, self.columns}
            implied = case.layer in WITHOUT and axis in {"layer", "method"}
            if not said and not implied and value not in self.setting.get(axis, ()):
                row.append(word(axis, value))
        return ", ".join(row), self._column(case)

    def _column(self, case: TrainCase) -> Any:
        """None of a case that has no value there, unless nothing in it is decomposed."""
        if self.columns is None:
            return None
        return case.layer if case.layer in WITHOUT else getattr(case, self.columns)


SHAPES = {
    "table-2": Shape(
        "Table 2: ZCA whitening on CIFAR-10, ResNet18, error in %",
        paper.TABLE_2, "method", "d", ZCA, paper.TRIALS["table-2"],
        remarks=("The mean of SVD at d = 4, 4.54, is below its minimum, 4.59, as printed.",),
    ),
    "table-3": Shape(
        "Table 3: ZCA whitening by the hybrid and batch normalisation on CIFAR-100, error in %",
        paper.TABLE_3, "model", "d", {**ZCA, "method": ["hybrid"], "data": ["cifar100"]},
    ),
    "table-4a": Shape(
        "Table 4(a): PCA denoising by the share of the variance that is kept, error in %",
        paper.TABLE_4A, "method", "energy", PCA, flat=True,
    ),
    "table-4b": Shape(
        "Table 4(b): PCA denoising by the number of eigenvectors, error in %",
        paper.TABLE_4B, "method", "components", {**PCA, "energy": [None]}, flat=True,
    ),
    "table-4c": Shape(
        "Table 4(c): PCA denoising by the number of power iterations, error in %",
        paper.TABLE_4C, "method", "iterations", {**PCA, "energy": [0.999]}, flat=True,
    ),
    "table-5": Shape(
        "Table 5: PCA denoising by method and batch normalisation, error in %",
        paper.TABLE_5, "method", None, PCA,
        remarks=("The text says of PCA(SVD) that it \"failed all five times\": the 0 % here.",),
    ),
}  # fmt: skip


def sections(compare: str, cells: Sequence[Cell]) -> list[str]:
    """The tables that the suite repeats, or nothing if it repeats none."""
    return [part for shape, own in _tables(compare, cells) for part in _section(shape, own)]


def _tables(compare: str, cells: Sequence[Cell]) -> list[tuple[Shape, list[Cell]]]:
    """The shapes of the tables that are named, and the cells of each."""
    shapes = [SHAPES[name] for name in compare.split() if name in SHAPES]
    if len(shapes) == 1:
        return [(shapes[0], list(cells))]  # whatever was added to the table's own
    return [
        (shape, [c for c in cells if c.case.layer in (*shape.setting["layer"], *WITHOUT)])
        for shape in shapes
    ]


def _section(shape: Shape, cells: Sequence[Cell]) -> list[str]:
    found = placed(shape, cells)
    body = _flat(shape, found) if shape.flat else _stacked(shape, found)
    remarks = " ".join(
        (
            f"*Paper*: as printed, {shape.trials} trials a cell. *Here*: measured by this run; see "
            "under the title what is different. Means are over finished trials, ± is their "
            "standard deviation, \"–\" is what was not printed or not measured.",
            *shape.remarks,
        )
    )  # fmt: skip
    return [f"## {shape.title}, beside the paper", remarks, body]


def placed(shape: Shape, cells: Sequence[Cell]) -> dict[Key, Cell]:
    """Every cell with its row and column; what varies between cells is said, so none is lost."""
    axes = [axis for axis in varied(cells) if axis not in shape.setting]
    found: dict[Key, Cell] = {}
    for cell in cells:
        row, column = shape.key(cell.case, axes)
        # A parameter that has no axis can be all that tells two cells apart.
        known = (row, column) in found
        found[f"{row} (`{cell.case.id}`)" if known else row, column] = cell
    return found


def failures(compare: str, cells: Sequence[Cell]) -> list[tuple[Cell, float]]:
    """The measured cells of which the paper prints failures, with the share that it prints."""
    pairs = [
        (cell, shape.printed.get(key))
        for shape, own in _tables(compare, cells)
        for key, cell in placed(shape, own).items()
    ]
    shares = [
        (cell, printed.success / 100)
        for cell, printed in pairs
        if cell.trials and printed is not None and printed.success is not None
    ]
    return [(cell, share) for cell, share in shares if share < 1]


def _stacked(shape: Shape, found: Mapping[Key, Cell]) -> str:
    """Rows are methods × quantities; each column of the paper is two, the paper's and ours."""
    keys = [*shape.printed, *found]
    rows = list(dict.fromkeys(row for row, _ in keys))
    columns = list(dict.fromkeys(column for _, column in keys))
    headers = [_title(shape), "error %"]
    for column in columns:
        title = _column_title(shape, column)
        headers += [f"{title}paper", f"{title}here"]
    body = []
    for row in rows:
        for position, (quantity, printed, measured) in enumerate(QUANTITIES):
            line = [row if position == 0 else "", quantity]
            for column in columns:
                line.append(_printed(shape, (row, column), printed))
                line.append(_measured(found.get((row, column)), measured))
            body.append(line)
    return table(headers, body)


def _flat(shape: Shape, found: Mapping[Key, Cell]) -> str:
    """Rows are values of the columns' axis; quantities go across."""
    keys = list(dict.fromkeys([*shape.printed, *found]))
    usual = next(iter(shape.printed))[0]
    least, mean, success = QUANTITIES
    across = (mean, least, success)  # the means beside each other
    body = []
    for row, column in keys:
        words = [] if row == usual else [row]
        if shape.columns is not None and column is not None and not isinstance(column, str):
            words.append(word(shape.columns, column))
        line = [", ".join(words)]
        line.append(_printed(shape, (row, column), _mean))
        line += [_measured(found.get((row, column)), measured) for _, _, measured in across]
        body.append(line)
    headers = ["cell", "paper: mean", *(f"here: {quantity}" for quantity, _, _ in across)]
    return table(headers, body)


def _mean(printed: Printed) -> str:
    if printed.mean is None:
        return NOTHING
    spread = "" if printed.deviation is None else f" ± {printed.deviation:.2f}"
    return f"{_number(printed.mean)}{spread}"


def _minimum(printed: Printed) -> str:
    return NOTHING if printed.minimum is None else _number(printed.minimum)


def _success(printed: Printed) -> str:
    return NOTHING if printed.success is None else percent(printed.success / 100)


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.2f}"


QUANTITIES: tuple[tuple[str, Callable[[Printed], str], Callable[[Cell], str]], ...] = (
    ("min", _minimum, lambda cell: writing.least_error(cell.errors)),
    ("mean", _mean, lambda cell: writing.errors(cell.errors)),
    (
        "success rate",
        _success,
        lambda cell: f"{writing.share(cell.success)} ({cell.success[0]} of {cell.success[1]})",
    ),
)


def _printed(shape: Shape, key: Key, write: Callable[[Printed], str]) -> str:
    printed = shape.printed.get(key)
    return NOTHING if printed is None else write(printed)


def _measured(cell: Cell | None, write: Callable[[Cell], str]) -> str:
    return NOTHING if cell is None or not cell.trials else write(cell)


def _title(shape: Shape) -> str:
    return {"method": "method", "model": "network"}[shape.rows]


def _column_title(shape: Shape, column: Any) -> str:
    if shape.columns is None:
        return ""
    if column is None:
        return f"no {shape.columns}, "
    if isinstance(column, str):
        return "BN, " if column == "bn" else f"{column}, "
    return f"{word(shape.columns, column)}, "
