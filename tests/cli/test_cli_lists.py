"""`--d 4 8`, `--d 4 --d 8` and `--d 4,8` mean the same, for every axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from eigbench.cli.app import app
from eigbench.cli.axis_options import spread
from eigbench.cli.options import RunOptions
from eigbench.errors import InputError
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.stability import StabilityCase
from eigbench.methods import available
from eigbench.runs.suite import Suite, cases, find, load, override
from tests.cli.commandline import call

AXES: list[tuple[str, str, list[str], list[Any]]] = [
    ("--d", "d", ["4", "8", "16", "32", "64"], [4, 8, 16, 32, 64]),
    ("--gap", "gap", ["0.3", "1e-3", "0"], [0.3, 1e-3, 0.0]),
    ("--method", "method", ["svd", "hybrid-loop"], ["svd", "hybrid-loop"]),
    ("--matrix-scale", "scale", ["1e5", "1"], [1e5, 1.0]),
]

Spelling = Callable[[str, list[str]], list[str]]

SPELLINGS: dict[str, Spelling] = {
    "words": lambda o, v: [o, *v],
    "repeated": lambda o, v: [word for value in v for word in (o, value)],
    "commas": lambda o, v: [o, ",".join(v)],
    "equals": lambda o, v: [f"{o}={','.join(v)}"],
    "equals repeated": lambda o, v: [f"{o}={value}" for value in v],
    "commas and spaces": lambda o, v: [o, ", ".join(v)],
    "commas at the ends": lambda o, v: [o, *(f"{value}," for value in v)],
    "mixture": lambda o, v: [f"{o}={v[0]}", o, *v[1:]],
    "mixture with commas": lambda o, v: [o, v[0], ",".join(v[1:])],
    "repetitions": lambda o, v: [o, *v, *v, f"{o}={v[0]}"],
}


class Executed:
    """Stands in for the measuring, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.suite: Suite | None = None
        self.options = RunOptions()

    def __call__(self, suite: Suite, options: RunOptions) -> None:
        self.suite, self.options = suite, options


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Executed:
    stand_in = Executed()
    monkeypatch.setattr("eigbench.cli.stability.execute", stand_in)
    return stand_in


def _values(suite: Suite | None, axis: str) -> list[Any]:
    """The values of an axis in the first grid, which narrows nothing."""
    assert suite is not None
    values: list[Any] = getattr(suite.grids[0], axis)
    return values


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("case", AXES, ids=lambda case: case[0])
def test_every_spelling_means_the_same(
    executed: Executed, spelling: str, case: tuple[str, str, list[str], list[Any]]
) -> None:
    option, axis, words, values = case
    outcome = call("stability", *SPELLINGS[spelling](option, words))
    assert (outcome.code, outcome.err) == (0, "")
    assert _values(executed.suite, axis) == values


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_options_that_follow_and_precede_are_options(executed: Executed, spelling: str) -> None:
    spell = SPELLINGS[spelling]
    line = ["--seeds", "3", *spell("--d", ["4", "8"]), "--out", "here", "--resume"]
    outcome = call("stability", *line, *spell("--gap", ["0.3", "1e-3"]), "-q", "--no-progress")
    assert (outcome.code, outcome.err) == (0, "")
    assert _values(executed.suite, "d") == [4, 8]
    assert _values(executed.suite, "gap") == [0.3, 1e-3]
    assert executed.suite is not None
    assert executed.suite.seeds == 3
    assert executed.options == RunOptions(
        out=Path("here"), resume=True, quiet=True, no_progress=True
    )


def test_repetitions_are_removed_by_value_not_by_spelling(executed: Executed) -> None:
    assert call("stability", "--gap", "0.1", "1e-1", ".10", "--d", "4", "+4").code == 0
    assert _values(executed.suite, "gap") == [0.1]
    assert _values(executed.suite, "d") == [4]


def test_an_axis_that_is_not_given_keeps_the_suite_values(executed: Executed) -> None:
    assert call("stability", "--d", "4").code == 0
    assert _values(executed.suite, "gap") == [0.15, 0.1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 0.0]
    assert _values(executed.suite, "method") is None  # the suite's own axes decide


@pytest.mark.parametrize("word", ["-3", "-.5", "-inf", "-nan", "-1e5"])
def test_a_negative_number_is_a_value_not_an_option(word: str) -> None:
    assert list(spread(["--gap", "0.1", word], {"--gap"})) == ["--gap=0.1", f"--gap={word}"]


@given(
    st.lists(st.integers(1, 4096), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_any_mixture_of_spellings_spreads_to_the_same(
    values: list[int], joined: list[bool], named: list[bool]
) -> None:
    words = ["--d", str(values[0])]
    for value, join, name in zip(values[1:], joined, named, strict=False):
        if join:
            words[-1] += f",{value}"
        else:
            words += ["--d", str(value)] if name else [str(value)]
    expected = [f"--d={value}" for value in values]
    assert list(spread([*words, "--quiet"], {"--d"})) == [*expected, "--quiet"]


def test_all_is_every_method(executed: Executed) -> None:
    assert call("stability", "--method", "all").code == 0
    assert _values(executed.suite, "method") == list(available())
    assert call("stability", "--method", "spectral", "all").code == 0
    assert set(_values(executed.suite, "method")) == set(available())
    # Of other axes `all` is no value.
    assert call("stability", "--loss", "all").code == 2


def test_parameters_of_methods(executed: Executed) -> None:
    assert call("stability", "--set", "degree=7", "eta=1e-3,relative=true").code == 0
    assert executed.suite is not None
    assert executed.suite.parameters == {"degree": 7, "eta": 1e-3, "relative": True}
    assert [type(value) for value in executed.suite.parameters.values()] == [int, float, bool]


def test_a_suite_from_a_file_takes_parameters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = Executed()
    monkeypatch.setattr("eigbench.cli.run.execute", stand_in)
    assert call("run", "stability", "--set", "degree=7").code == 0
    assert stand_in.suite is not None
    assert stand_in.suite.parameters == {"degree": 7}


@pytest.mark.parametrize("word", ["degree", "=3", "degree=", "degree=many", "degree=True"])
def test_a_parameter_is_a_name_and_a_number(executed: Executed, word: str) -> None:
    outcome = call("stability", "--set", word)
    assert outcome.code == 2
    assert "is not NAME=VALUE with a number, true or false" in outcome.err
    assert executed.suite is None


def test_parameters_reach_the_methods_that_have_them() -> None:
    suite = load(find("stability"))
    suite = override(suite, {"method": ["eigh", "taylor", "pade"]})
    planned = cases(msgspec.structs.replace(suite, parameters={"degree": 3}))
    by_method = {
        (case.method, case.parameters.get("degree"))
        for case in planned
        if isinstance(case, StabilityCase | PathCase | InvarianceCase | ProfileCase)
    }
    assert by_method >= {("eigh", None), ("taylor", 3), ("pade", 3)}
    assert ("taylor", None) not in by_method
    with pytest.raises(InputError, match="no method here has a parameter 'eta'"):
        cases(msgspec.structs.replace(suite, parameters={"eta": 3.0}))


def test_a_line_that_a_shell_completes_may_end_with_an_option() -> None:
    command = get_command(app).commands["stability"]  # type: ignore[attr-defined]
    with command.make_context("stability", ["--method"], resilient_parsing=True) as context:
        assert context.resilient_parsing
