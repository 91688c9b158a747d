"""Suites: what ships, what a file may say, what an option changes, and the way back to TOML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigbench.axes import AXES, LARGEST_D
from eigbench.errors import InputError
from eigbench.kinds.base import Matrices, Parameters
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.series import SeriesCase
from eigbench.kinds.stability import StabilityCase
from eigbench.methods.registry import available
from eigbench.runs.suite import (
    Axes,
    Grid,
    Scale,
    Suite,
    at_scale,
    cases,
    check,
    find,
    load,
    override,
    shipped,
    to_toml,
)
from tests.runs import making


def _stability(suite: Suite) -> list[StabilityCase]:
    return [case for case in cases(suite) if isinstance(case, StabilityCase)]


# What ships


PAPER_TRAININGS = (
    *("paper-table2", "paper-table3", "paper-table4a", "paper-table4b", "paper-table4c"),
    *("paper-table5", "paper-figure2", "paper-figure4"),
)
SHIPPED = (
    *("stability", "singular", "profile", "gpu", "eigh-contest", "paper-table1"),
    *("learning", "survival", "train-short", "train-stress"),
    *PAPER_TRAININGS,
)


def test_these_suites_ship() -> None:
    assert set(shipped()) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_loads_and_repeats_nothing(name: str) -> None:
    suite = load(find(name))
    assert suite.name == name
    planned = cases(suite)
    assert planned
    assert len(set(map(repr, planned))) == len(planned) == len({case.id for case in planned})
    assert find(f"{name}.toml") == find(name) == shipped()[name]


@pytest.mark.parametrize(("preset", "largest"), [("contest", 2048), ("short", 352)])
def test_the_contest_has_its_sizes_up_to_those_of_the_preset(preset: str, largest: int) -> None:
    suite = at_scale(load(find("eigh-contest")), preset)
    timed = {(case.batch, case.d) for case in cases(suite) if isinstance(case, ProfileCase)}
    published = {(20, 32), (40, 176), (40, 352), (640, 512), (60, 1024), (8, 2048)}
    assert timed == {(batch, d) for batch, d in published if d <= largest}
    judged = {case.d for case in _stability(suite)}
    assert judged == {d for d in (32, 176, 512, 1024) if d <= largest}


def test_a_preset_changes_a_training_only_if_there_is_one() -> None:
    suite = Suite(name="made", kind="stability", scales={"short": Scale(training={"epochs": 1})})
    with pytest.raises(InputError, match="changes a \\[training\\], and the suite has none"):
        at_scale(suite, "short")


def test_the_stability_suite_varies_every_axis() -> None:
    planned = cases(load(find("stability")))
    stability = [case for case in planned if isinstance(case, StabilityCase)]
    taken: dict[str, set[Any]] = {
        name: {getattr(case, name) for case in stability}
        for name in ("method", "d", "spectrum", "scale", "dtype", "epsilon", "loss", "iterations")
    }
    taken["gap"] = {case.gap for case in stability} - {None}
    taken["start"] = {case.parameters.get("seed") for case in stability} - {None}
    taken["iterations"] -= {None}
    taken["ratio"] = {case.ratio for case in planned if isinstance(case, SeriesCase)}
    of_other_kinds = {"model", "layer", "components", "energy", "truncation"}
    of_other_kinds |= {"subject", "batch", "compiled", "layout", "function", "situation"}
    assert set(taken) == set(AXES) - of_other_kinds
    for name, values in taken.items():
        assert len(values) >= 2, name
    assert taken["d"] == {2, 4, 8, 16, 32, 64}
    assert taken["method"] == set(available()) & set(taken["method"])
    spectra = AXES["spectrum"].accepts().split(", ")  # those of LAPACK are `eigh-contest`'s
    assert taken["spectrum"] == {name for name in spectra if not name.startswith("lapack-")}
    assert taken["loss"] == set(AXES["loss"].accepts().split(", "))


def test_a_file_is_found_before_a_shipped_suite(cwd: Path) -> None:
    (cwd / "stability.toml").write_text("mine")
    assert find("stability.toml") == Path("stability.toml")
    assert find("stability") == shipped()["stability"]


# Cases


def test_cases_are_the_cross_product() -> None:
    planned = _stability(making.suite(gap=[0.1, 0.2]))
    points = {(case.method, case.d, case.gap) for case in planned}
    assert points == {(m, d, g) for m in ("eigh", "hybrid") for d in (4, 8) for g in (0.1, 0.2)}
    assert len(planned) == 8
    assert {(case.seeds, case.seed, case.device) for case in planned} == {(2, 0, "cpu")}


def test_a_method_gets_only_the_parameters_that_it_has() -> None:
    suite = making.suite(method=["eigh", "pi", "hybrid"], d=[4], iterations=[3, 5], start=[0, 1])
    counts: dict[str, list[Parameters]] = {}
    for case in _stability(suite):
        counts.setdefault(case.method, []).append(case.parameters)
    assert counts["eigh"] == [{}]
    assert sorted(p["iterations"] or 0 for p in counts["hybrid"]) == [3, 5]
    assert all(set(p) == {"iterations"} for p in counts["hybrid"])
    assert len(counts["pi"]) == 4
    assert all(set(p) == {"iterations", "seed"} for p in counts["pi"])


def test_a_spectrum_without_a_gap_has_one_case_for_all_gaps() -> None:
    suite = making.suite(method=["eigh"], d=[4], gap=[0.1, 0.2], spectrum=["identity", "cluster"])
    points = [(case.spectrum, case.gap) for case in _stability(suite)]
    assert sorted(points, key=str) == [("cluster", 0.1), ("cluster", 0.2), ("identity", None)]


def test_two_grids_with_the_same_case_have_it_once() -> None:
    once = making.suite()
    twice = msgspec.structs.replace(once, grids=[Grid(), Grid(d=[8, 16], about="again")])
    assert [case.d for case in _stability(twice)].count(8) == 2  # one of each method
    assert {case.d for case in _stability(twice)} == {4, 8, 16}


def test_own_matrices_take_the_place_of_spectra() -> None:
    own = Matrices(file="m.npy", sha256="ab" * 32, count={"3": 5, "7": 1})
    suite = msgspec.structs.replace(making.suite(spectrum=["gap", "identity"]), matrices=own)
    points = {(c.spectrum, c.d, c.seeds, c.gap, c.matrices) for c in _stability(suite)}
    assert points == {("file", 3, 5, None, "ab" * 8), ("file", 7, 1, None, "ab" * 8)}


# Options


def test_an_option_replaces_an_axis_in_every_grid() -> None:
    suite = msgspec.structs.replace(making.suite(), grids=[Grid(), Grid(d=[16, 32])])
    changed = override(suite, {"d": [64]})
    assert [grid.d for grid in changed.grids] == [[64], [64]]
    assert {case.d for case in _stability(changed)} == {64}
    assert suite.grids[0].d is None  # the suite itself is left alone


@pytest.mark.parametrize(
    ("grid", "options", "left"),
    [
        ({"d": [8, 16]}, {}, {"d": [8, 16]}),
        ({"d": [8, 16, 32], "narrow": ["d"]}, {"d": [64, 32, 8]}, {"d": [8, 32]}),
        ({"d": [8, 16], "narrow": ["d"]}, {"d": [64, 128]}, {"d": [64, 128]}),
        ({"narrow": ["d"]}, {"d": [2, 8]}, {"d": [8]}),  # of the suite's own sizes
        ({"d": [8, 16], "gap": [0.1, 0.2], "narrow": ["d"]}, {"d": [8, 64], "gap": [0.2, 0.5]},
         {"d": [8], "gap": [0.2, 0.5]}),
        ({"d": [2, 3], "only": ["d"]}, {"d": [8, 16]}, None),
        ({"d": [2, 3], "only": ["d"]}, {"d": [3, 8], "gap": [0.5]}, {"d": [3], "gap": [0.5]}),
        ({"d": [2, 3], "only": ["d"]}, {"gap": [0.5]}, {"d": [2, 3], "gap": [0.5]}),
        ({"method": ["eigh"], "without": ["pi"]}, {"method": ["pi", "svd"]}, {"method": ["svd"]}),
        ({"method": ["eigh"], "without": ["pi"]}, {"method": ["pi"]}, None),
        ({"method": ["eigh"], "without": ["pi"]}, {"d": [8]}, {"method": ["eigh"], "d": [8]}),
    ],
)  # fmt: skip
def test_what_an_option_leaves_of_a_grid(
    grid: dict[str, Any], options: dict[str, Any], left: dict[str, Any] | None
) -> None:
    if left is None:
        with pytest.raises(InputError, match="the suite 'made' has nothing about that"):
            override(making.suite(**grid), options)
        return
    (found,) = override(making.suite(**grid), options).grids
    assert {name: getattr(found, name) for name in AXES if getattr(found, name)} == left


def test_the_coefficient_is_not_asked_of_other_sizes() -> None:
    """The README's first command names sizes: what is about d = 2 is not measured at them."""
    suite = load(find("stability"))
    whole, chosen = cases(suite), cases(override(suite, {"d": [4, 8, 16, 32, 64]}))
    assert {case.id for case in chosen} < {case.id for case in whole}
    left_out = [case for case in whole if case not in chosen]
    assert {case.d for case in left_out if isinstance(case, StabilityCase)} == {2}


def test_options_are_about_stability_grids() -> None:
    suite = load(find("paper-table1"))
    assert override(suite, {"dtype": ["float64"], "d": [3]}) == suite


def test_options_on_the_shipped_suite() -> None:
    suite = override(load(find("stability")), {"d": [4], "method": ["eigh"]})
    planned = _stability(suite)
    assert {case.method for case in planned} == {"eigh"}
    assert {case.d for case in planned} == {4}
    assert cases(check(suite)) == cases(suite)


# TOML

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3)


AXIS: dict[str, st.SearchStrategy[list[Any]]] = {
    "method": _some(st.sampled_from(available())),
    "d": _some(st.integers(1, LARGEST_D)),
    "spectrum": _some(st.sampled_from(AXES["spectrum"].accepts().split(", "))),
    "gap": _some(st.floats(0, 1, exclude_max=True)),
    "scale": _some(st.floats(0, exclude_min=True, allow_infinity=False)),
    "dtype": _some(st.sampled_from(["float32", "float64"])),
    "epsilon": _some(st.floats(0, allow_infinity=False)),
    "iterations": _some(st.integers(1, 10**6)),
    "loss": _some(st.sampled_from(AXES["loss"].accepts().split(", "))),
    "start": _some(st.integers(0, 2**31)),
    "ratio": _some(st.floats(0, 1, exclude_min=True, exclude_max=True)),
}
GRIDS = st.builds(
    Grid,
    about=TEXT,
    kind=st.sampled_from(["stability", "series"]),
    narrow=st.lists(st.sampled_from(sorted(AXIS)), max_size=2),
    **{name: st.none() | values for name, values in AXIS.items()},
)
MATRICES = st.builds(
    Matrices,
    file=TEXT,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    count=st.dictionaries(st.integers(1, 99).map(str), st.integers(1, 99), min_size=1, max_size=3),
)
SUITES = st.builds(
    Suite,
    name=st.from_regex(r"[a-z][a-z0-9-]{0,11}", fullmatch=True),
    kind=st.sampled_from(["stability", "series"]),
    title=TEXT,
    seeds=st.integers(1, 1000),
    seed=st.integers(0, 2**31),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
    threshold=st.floats(1e-6, 0.5),
    axes=st.builds(Axes, **AXIS),
    grids=st.lists(GRIDS, min_size=1, max_size=3),
    matrices=st.none() | MATRICES,
)


@given(SUITES)
def test_a_suite_survives_the_way_through_toml(
    tmp_path_factory: pytest.TempPathFactory, suite: Suite
) -> None:
    text = to_toml(suite)
    assert to_toml(msgspec.structs.replace(suite)) == text
    path = tmp_path_factory.mktemp("suite") / "suite.toml"
    path.write_bytes(text.encode())
    again = load(path)
    assert again == suite
    assert to_toml(again) == text
    # Resuming compares the file with the text, as text.
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["stability", "paper-table1"])
def test_a_resolved_suite_has_the_same_cases(name: str, tmp_path: Path) -> None:
    suite = load(find(name))
    (tmp_path / "resolved.toml").write_text(to_toml(suite), encoding="utf-8")
    assert cases(load(tmp_path / "resolved.toml")) == cases(suite)


def test_comments_and_order_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        'kind = "series"\nname = "x"  # a comment\n[axes]\nd = [4]\n'
    )
    (tmp_path / "two.toml").write_text('name = "x"\naxes = { d = [ 4, ] }\nkind = "series"\n')
    texts = {
        to_toml(msgspec.toml.decode((tmp_path / name).read_bytes(), type=Suite))
        for name in ("one.toml", "two.toml")
    }
    assert len(texts) == 1


# What is refused


ACCEPTED: dict[str, tuple[list[Any], list[Any]]] = {
    "d": ([1, 4096, "7"], [0, 4097, -1, 1.5, 2.0, True, None, "x", "1.5", ""]),
    "gap": ([0, 0.999, "1e-3"], [1, 1.0, -1e-9, float("nan"), float("inf"), "x", True, None]),
    "scale": ([1e-300, 1, "2"], [0, -1, float("inf"), float("nan"), False]),
    "epsilon": ([0, 1e9, ".5"], [-1e-9, float("inf"), "nan", None]),
    "iterations": ([1, "300"], [0, -1, 1.5, 10**6 + 1, "1e3"]),
    "start": ([0, "5"], [-1, 0.5, 2**31 + 1]),
    "ratio": ([0.5, 1e-9], [0, 1, -0.5, float("nan")]),
    "method": (list(available()), ["", "EIGH", "all", 3, None]),
    "dtype": (["float32", "float16", "bfloat16", "complex64"], ["double", "half", 64]),
    "spectrum": (["gap", "cifar-conv"], ["file", "Gap", 1]),
    "loss": (["whitening"], ["mse", None]),
    "function": (["polar", "low-rank"], ["U", None]),
    "situation": (["identity", "zero-columns"], ["Identity", 1, None]),
    "layout": (["contiguous", "channels_last"], ["NHWC", "channels-last", 1]),
    "model": (["resnet18", "resnet50"], ["resnet34", "", None]),
    "layer": (["bn", "zca", "pca", "none"], ["ZCA", "ln", None]),
    "components": ([1, 64, "16"], [0, 65, 1.5, True, None]),
    "energy": ([1, 0.99, "1e-3"], [0, 1.01, -1, float("nan"), None]),
    "truncation": (["algorithm-1", "none", "released"], ["", "off", None]),
    "subject": (["operation", "layer", "step"], ["", "network", None]),
    "batch": ([1, 65536, "16"], [0, 65537, 1.5, True, None]),
    "compiled": ([True], [0, 1, "yes", None]),
}


@pytest.mark.parametrize("name", sorted(AXES))
def test_what_an_axis_takes(name: str) -> None:
    axis = AXES[name]
    right, wrong = ACCEPTED[name]
    for value in right:
        assert axis.read(value) is not None
    for value in wrong:
        with pytest.raises(InputError) as caught:
            axis.read(value, "grids[0]")
        assert str(caught.value) == f"grids[0]: {value!r} is not valid; accepted: {axis.accepts()}"


def test_a_case_is_frozen() -> None:
    case = _stability(making.suite())[0]
    with pytest.raises(AttributeError):
        case.dtype = "float64"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        AXES["d"].name = "n"  # type: ignore[misc]
