"""The paper's tables: what is printed, and which cells stand beside it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from eigbench.kinds.train import TrainCase, Training
from eigbench.report import paper
from eigbench.report.training.cells import gather
from eigbench.report.training.compared import SHAPES, failures, placed, sections
from eigbench.runs.suite import Grid, Suite, at_scale, cases, find, load
from tests.report import trainings
from tests.report.trainings import record


@pytest.mark.parametrize("name", SHAPES)
def test_the_shipped_suite_asks_what_the_paper_prints(name: str) -> None:
    """Every printed cell has its measured one beside it; ours are more by what is said here."""
    suite = at_scale(load(find(f"paper-{name.replace('-', '')}")), "smoke")
    shape = SHAPES[name]
    assert suite.compare == name
    asked = set(placed(shape, gather(cases(suite), [])))
    assert asked >= set(shape.printed)
    assert {row for row, _ in asked - set(shape.printed)} <= {"spectral", "bn"}


def test_a_mean_is_not_below_its_minimum_but_for_one() -> None:
    """SVD at d = 4 in Table 2; that it is the only one is a check of what was typed."""
    tables = [shape.printed for shape in SHAPES.values()]
    wrong = [
        key
        for printed in tables
        for key, cell in printed.items()
        if cell.mean is not None and cell.minimum is not None and cell.mean < cell.minimum
    ]
    assert wrong == [("svd", 4)]


def test_sums_of_the_printed_means() -> None:
    """Column sums, added up by hand from the paper's pages."""

    def total(table: paper.Cells, row: str) -> float:
        means = [cell.mean for key, cell in table.items() if key[0] == row and cell.mean]
        return round(sum(mean for mean in means if not math.isnan(mean)), 2)

    assert total(paper.TABLE_2, "hybrid") == 23.19
    assert total(paper.TABLE_3, "resnet18") == 129.34
    assert total(paper.TABLE_3, "resnet50") == 122.59
    assert total(paper.TABLE_4A, "hybrid") == 29.48
    assert total(paper.TABLE_4B, "hybrid") == 23.83
    assert total(paper.TABLE_4C, "hybrid") == 32.56


def test_failures_are_those_that_the_paper_prints() -> None:
    suite = at_scale(load(find("paper-table2")), "smoke")
    planned = cases(suite)
    cells = gather(planned, [record(case) for case in planned])
    found = {(cell.case.method, cell.case.d): share for cell, share in failures("table-2", cells)}
    assert found == {
        ("svd", 4): 0.467, ("svd", 8): 0, ("svd", 16): 0, ("svd", 32): 0, ("svd", 64): 0,
        ("pi", 8): 0.067, ("pi", 16): 0, ("pi", 32): 0, ("pi", 64): 0,
    }  # fmt: skip


def test_a_suite_that_repeats_nothing_has_no_such_table() -> None:
    assert sections("", []) == []
    assert failures("", []) == []


def denoising(**axes: Any) -> Suite:
    """A run of PCA layers under the name of Table 2."""
    grid = Grid(layer=["pca"], method=["svd", "hybrid"], **axes)
    return trainings.suite(grids=[Grid(layer=["bn"], method=["hybrid"]), grid])


def test_no_cell_is_dropped_and_another_layer_has_nothing_printed_beside_it() -> None:
    planned = cases(denoising(energy=[0.9, 0.99], components=[8], epsilon=[1e-4, 1e-6]))
    cells = gather(planned, [record(case) for case in planned])
    found = placed(SHAPES["table-2"], cells)
    assert len(found) == len(cells) == 1 + 2 * 3 * 2
    assert not set(found) & set(SHAPES["table-2"].printed)
    assert failures("table-2", cells) == []
    text = sections("table-2", cells)[-1]
    assert "| hybrid, pca, 90 % kept, ε = 1e-06 " in text
    assert "| svd, pca, e = 8 " in text


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "axes",
    [
        {"layer": ["pca"], "energy": [0.9, 0.99, 1.0], "components": [2, 16]},
        {"layer": ["zca", "pca", "none"], "d": [4, 64], "energy": [0.99]},
        {"layer": ["zca"], "d": [4], "truncation": ["none", "algorithm-1"]},
        {"layer": ["zca", "bn"], "model": ["resnet18", "resnet50"], "iterations": [9, 19]},
    ],
)
def test_every_cell_of_any_sweep_has_its_own_place(name: str, axes: dict[str, Any]) -> None:
    own = trainings.suite(grids=[Grid(method=["svd", "pi", "hybrid"], **axes)])
    cells = gather(cases(own), [])
    found = placed(SHAPES[name], cells)
    assert {cell.case.id for cell in found.values()} == {cell.case.id for cell in cells}
    assert not any("`" in row for row, _ in found)
    text = sections(name, cells)[-1]
    assert all(row in text for row, _ in found)


def test_other_images_have_nothing_printed_beside_them() -> None:
    training = Training(data="elsewhere/cifar100", epochs=1)
    planned = cases(trainings.suite(training=training))
    cells = gather(planned, [record(case) for case in planned])
    assert failures("table-2", cells) == []
    rows = {row for row, _ in placed(SHAPES["table-2"], cells)}
    assert rows == {f"{method}, cifar100" for method in trainings.SECONDS}


def test_cells_that_no_axis_tells_apart_are_both_shown() -> None:
    """A parameter without an axis, as a method from elsewhere may have."""
    planned = [case for case in cases(trainings.suite()) if isinstance(case, TrainCase)]
    hybrid = next(case for case in planned if case.method == "hybrid")
    twin = msgspec.structs.replace(hybrid, parameters={**hybrid.parameters, "other": 1})
    found = placed(SHAPES["table-2"], gather([hybrid, twin], []))
    assert list(found) == [("hybrid", 4), (f"hybrid (`{twin.cell.id}`)", 4)]
