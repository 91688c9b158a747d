"""The paper's tables: what is printed, and which cells stand beside it."""

from __future__ import annotations

import math

import pytest

from eigbench.report import paper
from eigbench.report.training.cells import gather
from eigbench.report.training.compared import SHAPES, failures, sections
from eigbench.runs.suite import at_scale, cases, find, load
from tests.report.trainings import record


@pytest.mark.parametrize("name", SHAPES)
def test_the_shipped_suite_asks_what_the_paper_prints(name: str) -> None:
    """Every printed cell has its measured one beside it, and the other way round."""
    suite = at_scale(load(find(f"paper-{name.replace('-', '')}")), "smoke")
    shape = SHAPES[name]
    assert suite.compare == name
    asked = {shape.key(cell.case) for cell in gather(cases(suite), [])}
    assert asked == set(shape.printed)


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
