"""Which cases are taken for the same, and in what two environments differ."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eigbench.compare.match import MACHINE, Pairs, Unit, differences, environments, match, units
from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.series import SeriesCase
from eigbench.runs.environment import Session
from eigbench.runs.record import Record
from eigbench.runs.store import Environment, Run
from eigbench.runs.suite import cases
from tests.compare.making import here, profile_suite, record, stability_case
from tests.report import trainings


def profile(**changes: Any) -> ProfileCase:
    case = cases(profile_suite())[-1]
    assert isinstance(case, ProfileCase)
    return msgspec.structs.replace(case, **changes)


def matched(a: list[Case], b: list[Case]) -> tuple[Pairs, list[Unit], list[Unit]]:
    return match(units(made(a)), units(made(b)))


def pairs_of(a: list[Case], b: list[Case]) -> Pairs:
    return matched(a, b)[0]


def made(some: list[Case]) -> list[Record]:
    return [record(case, {}) for case in some]


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "cuda"), ("rounds", 5), ("seconds", 1.0), ("trace", True), ("inputs", "cached"),
     ("seed", 3)],
)  # fmt: skip
def test_how_a_profile_was_timed_does_not_keep_it_apart(field: str, value: Any) -> None:
    one = profile()
    (pair,) = pairs_of([one], [profile(**{field: value})])
    assert differences(*pair) == {field: (str(getattr(one, field)), str(value))}


@pytest.mark.parametrize(
    ("field", "value"),
    [("method", "svd"), ("parameters", {"iterations": 3}), ("d", 4), ("batch", 1),
     ("dtype", "float64"), ("compiled", True), ("subject", "layer")],
)  # fmt: skip
def test_what_a_profile_is_of_keeps_it_apart(field: str, value: Any) -> None:
    pairs, only_a, only_b = matched([profile()], [profile(**{field: value})])
    assert (pairs, len(only_a), len(only_b)) == ([], 1, 1)


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [("device", "cuda", True), ("seeds", 4, True), ("seed", 1, False), ("gap", 0.2, False),
     ("matrices", "abcd", False), ("dtype", "float64", False)],
)  # fmt: skip
def test_stability_needs_the_same_matrices(field: str, value: Any, same: bool) -> None:
    assert bool(pairs_of([stability_case()], [stability_case(**{field: value})])) is same


def test_series_must_be_the_same() -> None:
    one = SeriesCase(ratio=0.5, threshold=0.05, dtype="float64")
    other = msgspec.structs.replace(one, dtype="float32")
    assert len(pairs_of([one], [one])) == 1
    assert not pairs_of([one], [other])


def test_the_same_case_comes_before_a_similar_one() -> None:
    same = profile(rounds=9)
    pairs, only_a, _ = matched([profile(), same], [same])
    assert [one.case for one, _ in pairs] == [same]
    assert [unit.case for unit in only_a] == [profile()]


def test_no_case_is_matched_twice_and_none_is_lost() -> None:
    ours = [profile(rounds=n) for n in (1, 2, 3)]
    theirs = [profile(rounds=n, device="cuda") for n in (4, 5)]
    pairs, only_a, only_b = matched(list(ours), list(theirs))
    ends = [(one.case, other.case) for one, other in pairs]
    assert ends == list(zip(ours[:2], theirs, strict=True))
    assert [unit.case for unit in only_a] == ours[2:]
    assert only_b == []


def test_trials_are_one_unit_a_cell_in_order_of_their_seeds() -> None:
    planned = cases(trainings.suite())
    found = units([record(case, {}) for case in reversed(planned)])
    assert len(planned) == 33
    assert [[*unit.trials] for unit in found] == [[0, 1, 2]] * 11


def test_other_seeds_of_a_cell_are_the_same_cell() -> None:
    ours = cases(trainings.suite(seeds=2))
    theirs = cases(trainings.suite(seed=5, seeds=3))
    pairs = pairs_of(ours, theirs)
    assert len(pairs) == 11
    assert all(differences(*pair) == {} for pair in pairs)
    assert {(len(one.trials), len(other.trials)) for one, other in pairs} == {(2, 3)}


def test_of_two_records_of_a_case_the_later_counts() -> None:
    case = profile()
    first = record(case, {}, status="failed", reason="once")
    found = units([first, record(case, {"kernels": [1.0]})])
    assert [unit.trials[0].status for unit in found] == ["measured"]


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
    different, same = environments(a, b)
    assert [(one, there) for one, (_, there) in different.items()] == [(name, value)]
    assert (same >= MACHINE, "torch" in same) == (machine, torch)


def test_when_and_how_a_run_was_started_is_no_difference() -> None:
    a, b = run(here()), run(here(started_at="2027-01-01", command="eigbench run other", seed=7))
    assert environments(a, b)[0] == {}


def test_only_sessions_that_measured_count() -> None:
    unused = here(processor="Intel")
    a, b = run(here(), unused, used=(0,)), run(here())
    different, same = environments(a, b)
    assert different == {}
    assert same >= MACHINE


def test_a_run_that_went_on_elsewhere_is_of_two_machines() -> None:
    a, b = run(here(), here(processor="Intel"), used=(0, 1)), run(here())
    different, same = environments(a, b)
    assert different == {"processor": ("AMD EPYC, then Intel", "AMD EPYC")}
    assert not same >= MACHINE
    different, same = environments(a, a)
    assert different == {}
    assert "processor" not in same


def test_what_is_not_recorded_is_not_the_same() -> None:
    different, same = environments(run(), run(here()))
    assert {ours for ours, _ in different.values()} == {"not recorded"}
    assert same == set()
    assert environments(run(), run()) == ({}, set())


def test_every_field_of_a_session_is_walked() -> None:
    """Also those that a later version adds."""
    of_a_run = {"started_at", "command", "seed", "packages", "worker", "host"}
    fields = set(Session.__struct_fields__) - of_a_run
    own = msgspec.structs.asdict(here())
    other = {name: 99 if isinstance(own[name], int) else "other" for name in fields}
    assert set(environments(run(here()), run(here(**other)))[0]) == fields
