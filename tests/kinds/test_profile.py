"""Profiles: which cases a grid spans, how a command line changes them, where their traces go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from eigbench.errors import InputError
from eigbench.kinds.base import changed
from eigbench.kinds.profile import REFERENCES, ProfileCase, Profiling
from eigbench.runs.attachments import contestant_name, trace_path, workload_name
from eigbench.runs.suite import Axes, Grid, Suite, cases, check, find, load, override, to_toml
from tests.measure.profiles import case

AXES = Axes(
    method=["svd", "hybrid"], iterations=[19], dtype=["float32"], compiled=[False], batch=[2]
)
OPERATION = Grid(subject=["operation"], d=[4, 8])
LAYER = Grid(subject=["layer"], layer=["zca", "pca"], d=[4, 16], energy=[0.9])


def suite(*grids: Grid, **changes: Any) -> Suite:
    chosen = list(grids) or [OPERATION]
    return Suite(name="made", kind="profile", axes=AXES, grids=chosen, **changes)


def planned(of: Suite) -> list[ProfileCase]:
    found = cases(check(of))
    assert all(isinstance(case, ProfileCase) for case in found)
    return [case for case in found if isinstance(case, ProfileCase)]


def test_references_come_first_in_every_workload() -> None:
    by_workload: dict[str, list[str]] = {}
    for one in planned(suite(OPERATION, LAYER)):
        by_workload.setdefault(one.workload.id, []).append(one.method)
    assert list(by_workload.values()) == [
        *[["torch.linalg.eigh", "svd", "hybrid"]] * 2,  # d
        *[["bn", "none", "svd", "hybrid"]] * 3,  # d with zca, and pca
    ]


def test_the_first_reference_is_what_ratios_are_taken_to() -> None:
    assert {subject: names[0] for subject, names in REFERENCES.items()} == {
        "operation": "torch.linalg.eigh",
        "whitening": "torch.linalg.eigh",
        "layer": "bn",
        "step": "bn",
    }
    assert case(method="bn").is_reference
    assert not case(method="hybrid").is_reference


def test_axes_that_a_workload_does_not_have_are_left_out() -> None:
    layers = planned(suite(LAYER))
    assert {(c.layer, c.d, c.energy) for c in layers} == {
        ("zca", 4, None),
        ("zca", 16, None),
        ("pca", None, 0.9),
    }
    assert {c.layer for c in planned(suite(OPERATION))} == {None}
    assert {c.method: c.parameters for c in layers} == {
        "bn": {}, "none": {}, "svd": {}, "hybrid": {"iterations": 19},
    }  # fmt: skip


def test_compiled_variants_are_cases_of_their_own_and_references_are_not_compiled() -> None:
    found = planned(override(suite(), {"compiled": [False, True]}))
    compiled = {(c.method, c.compiled) for c in found}
    assert compiled == {
        ("torch.linalg.eigh", False),
        ("svd", False), ("svd", True), ("hybrid", False), ("hybrid", True),
    }  # fmt: skip
    assert len({c.workload.id for c in found}) == 2  # the sizes alone


def test_images_lie_as_asked_and_matrices_as_they_do() -> None:
    both = ["contiguous", "channels_last"]
    found = planned(override(suite(OPERATION, LAYER), {"layout": both}))
    lying: dict[str, list[str]] = {}
    for one in found:
        lying.setdefault(one.subject, []).append(one.layout)
    assert {*lying["operation"]} == {"contiguous"}
    assert lying["layer"].count("contiguous") == lying["layer"].count("channels_last")
    assert len({one.id for one in found}) == len(found)
    assert len({workload_name(one) for one in found}) == len({one.workload.id for one in found})


def test_a_case_of_the_usual_layout_is_written_as_before_there_was_one() -> None:
    """Its id is that of the records in `reports/profile`."""
    written = msgspec.json.encode(case(subject="layer", layer="zca"))
    assert b"layout" not in written
    assert msgspec.json.decode(written, type=ProfileCase).layout == "contiguous"
    assert b'"layout":"channels_last"' in msgspec.json.encode(case(layout="channels_last"))


def test_settings_are_in_every_case() -> None:
    found = planned(suite(profiling=Profiling(rounds=7, seconds=0.5, inputs="cached"), seed=3))
    assert {(c.rounds, c.seconds, c.inputs, c.seed) for c in found} == {(7, 0.5, "cached", 3)}


def test_of_two_grids_that_name_a_case_the_one_with_a_trace_counts_once() -> None:
    traced = msgspec.structs.replace(OPERATION, d=[8], trace=True)
    for grids in ([OPERATION, traced], [traced, OPERATION]):
        found = planned(suite(*grids))
        assert len(found) == 6
        assert {c.d for c in found if c.trace} == {8}
        assert {c.d for c in found if not c.trace} == {4}


def test_a_suite_is_the_same_after_it_is_written_and_read(tmp_path: Path) -> None:
    made = suite(
        OPERATION, msgspec.structs.replace(LAYER, trace=True), profiling=Profiling(rounds=7)
    )
    (tmp_path / "made.toml").write_text(to_toml(made))
    assert load(tmp_path / "made.toml") == made


@pytest.mark.parametrize(
    ("of", "complaint"),
    [
        (suite(Grid(subject=["operation"])), r"grids\[0\] has no d"),
        (suite(Grid(subject=["step"], d=[4], energy=[0.9])), r"grids\[0\] has no layer"),
        (suite(Grid(subject=["net"], d=[4])), r"grids\[0\]\.subject: 'net' is not valid"),
        (suite(msgspec.structs.replace(OPERATION, batch=[0])), r"grids\[0\]\.batch: 0"),
        (
            msgspec.structs.replace(suite(Grid(ratio=[0.5], trace=True)), kind="series"),
            r"grids\[0\]\.trace: only profiles leave traces",
        ),
        (suite(msgspec.structs.replace(OPERATION, seeds=0)), r"grids\[0\]\.seeds: 0"),
    ],
)  # fmt: skip
def test_check_refuses(of: Suite, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check(of)


# As a command line changes it


def test_settings_that_are_changed_and_those_that_are_refused() -> None:
    assert changed(Profiling(), {"rounds": 3, "seconds": None}) == Profiling(rounds=3)
    with pytest.raises(InputError, match=r"profiling: .*inputs"):
        changed(Profiling(), {"inputs": "old"})


def test_the_shipped_suite_is_about_everything() -> None:
    found = planned(load(find("profile")))
    assert {c.subject for c in found} == {"whitening", "operation", "layer", "step"}
    assert {c.layer for c in found} == {None, "zca", "pca"}
    assert {32, 33} <= {c.d for c in found if c.subject == "whitening"}
    assert {"float32", "float64", "float16"} == {c.dtype for c in found}
    assert {c.subject for c in found if c.trace} == {"whitening", "layer", "step"}
    # The paper's §3.2, and what was published for batches of matrices.
    assert any(c.subject == "step" and c.layer == "pca" and c.iterations == 2 for c in found)
    assert {(64, 1), (48, 64)} <= {(c.d, c.batch) for c in found}


# Traces


def test_a_trace_lies_where_the_plugin_looks_for_it() -> None:
    one = case(subject="layer", layer="zca", d=16, batch=128)
    path = trace_path(one)
    assert path == ("traces/layer-zca-d16-batch-128-float32/hybrid-iterations-19.pt.trace.json.gz")


def test_no_two_cases_of_a_suite_have_one_trace() -> None:
    whole = override(load(find("profile")), {"compiled": [False, True]})
    names = [(workload_name(c), contestant_name(c)) for c in planned(whole)]
    assert len(set(names)) == len(names)
