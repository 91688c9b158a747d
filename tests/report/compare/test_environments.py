"""What is said of two environments, and what it makes comparable."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eigbench.report.compare.environments import apart, same_machine, same_torch
from eigbench.runs.environment import Session
from eigbench.runs.store import Environment, Run
from tests.report.compare.making import here, profile_suite, record, stability_case


def run(*sessions: Session, used: tuple[int, ...] = (0,)) -> Run:
    records = [record(stability_case(d=4 + number), {}, session=number) for number in used]
    return Run(profile_suite(), Environment(schema=1, sessions=list(sessions)), records)


@pytest.mark.parametrize(
    ("changes", "name", "value", "machine", "torch"),
    [
        ({"processor": "Intel"}, "processor", "Intel", False, True),
        ({"torch_threads": 2}, "torch_threads", "2", False, True),
        ({"logical_cores": 64}, "logical_cores", "64", False, True),
        ({"device": "cuda: H100"}, "device", "cuda: H100", False, True),
        ({"machine": "arm64"}, "machine", "arm64", False, True),
        ({"packages": {"torch": "2.15.0"}}, "torch", "2.15.0", True, False),
        ({"packages": {"torch": "2.14.1", "numpy": "2"}}, "numpy", "2", True, True),
        ({"python": "3.13.0"}, "python", "3.13.0", True, True),
        ({"eigbench": "9"}, "eigbench", "9", True, True),
        ({"system": "Linux 7"}, "system", "Linux 7", True, True),
    ],
)
def test_one_difference(
    changes: dict[str, Any], name: str, value: str, machine: bool, torch: bool
) -> None:
    a, b = run(here()), run(here(**changes))
    assert [(one.name, one.b) for one in apart(a, b)] == [(name, value)]
    assert (same_machine(a, b), same_torch(a, b)) == (machine, torch)


def test_when_and_how_a_run_was_started_is_no_difference() -> None:
    a, b = run(here()), run(here(started_at="2027-01-01", command="eigbench run other", seed=7))
    assert apart(a, b) == ()


def test_only_sessions_that_measured_count() -> None:
    unused = here(processor="Intel")
    a, b = run(here(), unused, used=(0,)), run(here())
    assert apart(a, b) == ()
    assert same_machine(a, b)


def test_a_run_that_went_on_elsewhere_is_of_two_machines() -> None:
    a, b = run(here(), here(processor="Intel"), used=(0, 1)), run(here())
    assert [(one.name, one.a) for one in apart(a, b)] == [("processor", "AMD EPYC, then Intel")]
    assert not same_machine(a, b)


def test_what_is_not_recorded_is_not_the_same() -> None:
    a, b = run(), run(here())
    assert {one.a for one in apart(a, b)} == {"not recorded"}
    assert not same_machine(a, b)
    assert not same_torch(run(), run())


def test_every_field_of_a_session_is_walked() -> None:
    """Also those that a later version adds."""
    fields = set(Session.__struct_fields__) - {"started_at", "command", "seed", "packages"}
    own = msgspec.structs.asdict(here())
    other = {name: 99 if isinstance(own[name], int) else "other" for name in fields}
    assert {one.name for one in apart(run(here()), run(here(**other)))} == fields
