"""How long a suite takes, from earlier runs and from samples."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eigbench.kinds import Case
from eigbench.runs import estimate as module
from eigbench.runs.estimate import Estimate, estimate, recorded_seconds, together
from eigbench.runs.suite import Grid, Suite, cases
from tests.cli.commandline import SMALL, call
from tests.runs import making

SUITE = making.suite(d=[4, 8, 16])
PLAN = cases(SUITE)


@pytest.fixture
def by_size(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """A case takes as many seconds as its matrices have rows; which were measured."""
    measured: list[Case] = []

    def seconds(_: object, unit: list[Case]) -> float:
        measured.extend(unit)
        return sum(float(getattr(case, "d", 1)) for case in unit)

    monkeypatch.setattr(module._Sample, "seconds", seconds)
    return measured


def test_the_times_of_earlier_runs_on_this_machine_are_used(
    tmp_path: Path, by_size: list[Case]
) -> None:
    making.finish(tmp_path / "run", SUITE)  # half a second each
    known = recorded_seconds([tmp_path / "run", tmp_path / "none"], making.session())
    (found,) = estimate(SUITE, PLAN, known)
    assert (found.seconds, found.recorded, found.sampled, by_size) == (3.0, 6, 0, [])
    other = msgspec.structs.replace(making.session(), processor="another")
    assert recorded_seconds([tmp_path / "run"], other) == {}


def test_a_sample_of_each_size_stands_for_the_others(by_size: list[Case]) -> None:
    suite = making.suite(d=[4, 8], gap=[g / 100 for g in range(1, 51)])
    plan = cases(suite)
    (found,) = estimate(suite, plan, {plan[0].id: 100.0})
    assert len(by_size) == found.sampled == 2 * module.MOST_OF_A_STRATUM
    assert found.seconds == 100.0 + 99 * 4 + 100 * 8
    assert found.span == (found.seconds, found.seconds)  # all of a size take the same
    assert (found.recorded, found.unknown) == (1, 0)


def test_what_no_sample_reached_is_said(by_size: list[Case]) -> None:
    (found,) = estimate(SUITE, PLAN, {}, seconds=0)
    assert [getattr(case, "d", 0) for case in by_size] == [16]  # the largest comes first
    assert (found.seconds, found.sampled, found.unknown) == (32.0, 1, 4)
    low, high = found.span
    assert low == 0.0
    assert high > 50  # of one case it is not known how others differ


def test_workers_share_what_is_not_timed() -> None:
    found = together([Estimate("stability", 4, 8.0, 16.0), Estimate("profile", 2, 3.0)], 4)
    assert (found.cases, found.seconds, found.variance) == (6, 5.0, 1.0)


def test_a_training_is_measured_for_a_few_steps() -> None:
    grid = Grid(layer=["bn"], model=["resnet18"])
    training = making.training(epochs=1000, train_images=200, test_images=20, width=2, batch=32)
    suite = Suite(name="t", kind="train", seeds=2, grids=[grid], training=training)
    (found,) = estimate(suite, cases(suite), {}, seconds=0)
    assert (found.cases, found.sampled) == (2, 1)
    assert found.seconds > 20  # of two trainings of 5000 steps


def test_validate_says_how_many_and_what_it_is_based_on(cwd: Path) -> None:
    (cwd / "small.toml").write_text(SMALL)
    outcome = call("validate", "small.toml", "--workers", "2")
    assert (outcome.code, outcome.err) == (0, "")
    head, kind, one, two = outcome.out.splitlines()
    assert head == "small: 2 cases"
    assert "stability: 2 cases, about" in kind
    assert kind.endswith("2 from a sample measured now, 2 cases were measured")
    assert one.startswith("in one process about")
    assert two.startswith("with 2 workers about")
    assert [path.name for path in cwd.iterdir()] == ["small.toml"]
    assert call("run", "small.toml", "--out", "reports/a", "-q").code == 0
    again = call("validate", "small.toml").out
    assert "2 from earlier runs on such a machine" in again
    assert "sample" not in again


def test_validate_refuses_what_a_run_would_refuse(cwd: Path) -> None:
    (cwd / "wrong.toml").write_text(SMALL.replace("d = [4]", "d = [0]"))
    assert "wrong.toml: axes.d: 0 is not valid" in call("validate", "wrong.toml").complaint
