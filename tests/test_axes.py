"""One object an axis: what it accepts, how it is asked for, how it is written."""

from __future__ import annotations

import inspect
import re

import pytest
from typer.main import get_command

from eigbench import axes
from eigbench.axes import AXES, SETTINGS, Axis
from eigbench.cli.app import app
from eigbench.errors import InputError
from eigbench.kinds import KINDS
from eigbench.kinds.profile import REFERENCES, Profiling
from eigbench.kinds.train import RECIPES, Training
from eigbench.losses import LOSSES
from eigbench.runs.suite import Axes
from eigbench.spectra import SPECTRA
from eigbench.truncation import RULES
from tests.cli.commandline import call


def test_names_that_are_listed_here_are_those_that_exist() -> None:
    assert tuple(SPECTRA) == axes.SPECTRA
    assert tuple(LOSSES) == axes.LOSSES
    assert sorted(axes.TRUNCATIONS) == sorted(RULES)
    assert tuple(REFERENCES) == axes.SUBJECTS


def test_every_axis_of_a_suite_is_one_of_these() -> None:
    assert set(AXES) == set(Axes.__struct_fields__)
    settings = {*Training.__struct_fields__, *Profiling.__struct_fields__}
    assert set(SETTINGS) <= settings


def test_every_kind_requires_axes_that_exist() -> None:
    everything = {"layer": ["zca", "pca"], "subject": ["operation", "layer", "step"]}
    for kind in KINDS.values():
        assert kind.required({}) <= kind.required(everything) <= set(AXES)


@pytest.mark.parametrize("axis", [*AXES.values(), *SETTINGS.values()], ids=lambda axis: axis.name)
def test_an_axis_says_what_it_is(axis: Axis) -> None:
    assert axis.label
    assert not axis.option.startswith("-") or axis.help.endswith(".")
    with pytest.raises(InputError, match=re.escape(axis.accepts())):
        axis.read([])


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("d", 16, "d = 16"),
        ("epsilon", 1e-4, "ε = 0.0001"),
        ("iterations", 19, "K = 19"),
        ("gap", 0.0, "gap 0"),
        ("energy", 0.99, "99 % kept"),
        ("energy", 0.57, "57 % kept"),
        ("truncation", "none", "no truncation"),
        ("truncation", "released", "truncation released"),
        ("dtype", "float32", "float32"),
        ("compiled", True, "compiled"),
    ],
)
def test_a_value_is_written_with_its_name(name: str, value: object, written: str) -> None:
    assert AXES[name].write(value) == written


@pytest.mark.parametrize("command", ["stability", "profile", "train"])
def test_every_option_of_an_axis_is_made_from_it(command: str) -> None:
    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    made = {p.name: p for p in parameters if p.multiple and p.name in AXES}
    assert len(made) >= 8
    for name, parameter in made.items():
        assert parameter.opts == [AXES[name].option]


def test_a_command_has_no_parameter_of_its_own_for_an_axis() -> None:
    """Otherwise an option would be written twice."""
    from eigbench.cli.profile import profile
    from eigbench.cli.stability import stability
    from eigbench.cli.train import train

    for command in (profile, stability, train):
        own = inspect.signature(inspect.unwrap(command)).parameters
        assert not {*own} & {*AXES, "learning_rate", "epochs"}


def test_an_empty_word_is_refused_as_any_other() -> None:
    outcome = call("train", "--recipe", "")
    assert outcome.code == 2
    assert "--recipe: '' is not valid; accepted: " + ", ".join(RECIPES) in outcome.err


def test_scale_means_one_thing() -> None:
    assert call("stability", "--scale", "1").code == 2
    assert call("run", "paper-table5", "--scale", "smoke").code == 2
