"""What tells cells apart, and at which place methods are compared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eigbench.kinds.train import TrainCase
from eigbench.report.training.cells import gather
from eigbench.report.training.curves import panels_of
from eigbench.report.training.differences import comparisons
from eigbench.report.training.naming import AXES, PLACE, SHARED, name, place, varied
from eigbench.runs.suite import Grid, cases
from tests.report.trainings import record, suite

METHODS = ["svd", "pi", "hybrid", "spectral"]
CONDITIONS: dict[str, Any] = {
    "d": [4, 32], "epsilon": [1e-4, 1e-6], "truncation": ["algorithm-1", "none"],
}  # fmt: skip


def stress() -> list[TrainCase]:
    grids = [
        Grid(layer=["bn"], method=["hybrid"]),
        Grid(layer=["zca"], method=METHODS, **CONDITIONS),
    ]
    return [case for case in cases(suite(grids=grids)) if isinstance(case, TrainCase)]


def test_every_field_of_a_case_is_in_its_place_but_those_of_the_method() -> None:
    fields = set(TrainCase.__struct_fields__)
    assert {*PLACE, *SHARED} == fields - {"method", "parameters", "seed"}
    assert {*AXES} == fields - {"parameters", "seed"} | {"iterations"}


@pytest.mark.parametrize("axis", [*PLACE, *SHARED])
def test_another_value_is_another_place(axis: str) -> None:
    case = stress()[-1]
    other = msgspec.structs.replace(case, **{axis: "another"})
    assert place(other) != place(case)
    assert place(other, without=axis) == place(case, without=axis)


def test_methods_are_compared_under_the_same_condition_alone() -> None:
    planned = stress()
    found = comparisons(gather(planned, [record(case) for case in planned]))
    others = [c for c in found if c.other.case.layer != "bn" and c.cell.case.method != "hybrid"]
    assert len(others) == 3 * 8
    for c in others:
        one, other = c.cell.case, c.other.case
        assert (one.d, one.epsilon, one.truncation) == (other.d, other.epsilon, other.truncation)


def test_a_panel_holds_one_condition() -> None:
    planned = stress()
    panels = panels_of(gather(planned, [record(case) for case in planned]))
    assert len(panels) == 8
    assert len({panel.title for panel in panels}) == 8
    for panel in panels:
        assert [line.label for line in panel.lines] == ["bn", *METHODS]


@pytest.mark.parametrize(
    "axes",
    [
        {"layer": ["pca"], "energy": [0.9], "components": [8]},
        {"layer": ["zca", "pca"], "d": [4], "energy": [0.9]},
        {"layer": ["zca"], "d": [4], "truncation": ["none", "released"]},
        CONDITIONS | {"layer": ["zca"]},
    ],
)
def test_no_two_cells_have_the_same_name(axes: dict[str, Any]) -> None:
    cells = gather(cases(suite(grids=[Grid(method=METHODS, **axes)])), [])
    names = [name(cell.case, varied(cells)) for cell in cells]
    assert len(set(names)) == len(cells)


def test_a_methods_own_truncation_is_not_the_one_that_is_named() -> None:
    own = stress()[1]
    cells = gather([msgspec.structs.replace(own, truncation=None), own], [])
    assert varied(cells) == ["truncation"]
