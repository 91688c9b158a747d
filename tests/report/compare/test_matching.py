"""Which cases are taken for the same, and which are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.series import SeriesCase
from eigbench.report.compare.matching import Matched, match, units
from eigbench.runs.record import Record
from eigbench.runs.suite import cases
from tests.report import trainings
from tests.report.compare.making import profile_suite, record, stability_case


def profile(**changes: Any) -> ProfileCase:
    case = cases(profile_suite())[-1]
    assert isinstance(case, ProfileCase)
    return msgspec.structs.replace(case, **changes)


def matched(a: list[Case], b: list[Case]) -> Matched:
    return match(units(made(a)), units(made(b)))


def made(some: list[Case]) -> list[Record]:
    return [record(case, {}) for case in some]


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "cuda"), ("rounds", 5), ("seconds", 1.0), ("trace", True), ("inputs", "cached"),
     ("seed", 3)],
)  # fmt: skip
def test_how_a_profile_was_timed_does_not_keep_it_apart(field: str, value: Any) -> None:
    one = profile()
    found = matched([one], [profile(**{field: value})])
    assert len(found.pairs) == 1
    assert found.pairs[0].differs == {field: (str(getattr(one, field)), str(value))}


def test_all_of_it_may_differ_at_once() -> None:
    other = profile(device="cuda", rounds=5, seconds=1.0, trace=True, inputs="cached", seed=3)
    assert len(matched([profile()], [other]).pairs) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("method", "svd"), ("parameters", {"iterations": 3}), ("d", 4), ("batch", 1),
     ("dtype", "float64"), ("compiled", True), ("subject", "layer")],
)  # fmt: skip
def test_what_a_profile_is_of_keeps_it_apart(field: str, value: Any) -> None:
    found = matched([profile()], [profile(**{field: value})])
    assert (found.pairs, len(found.only_a), len(found.only_b)) == ([], 1, 1)


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [("device", "cuda", True), ("seeds", 4, True), ("seed", 1, False), ("gap", 0.2, False),
     ("matrices", "abcd", False), ("dtype", "float64", False)],
)  # fmt: skip
def test_stability_needs_the_same_matrices(field: str, value: Any, same: bool) -> None:
    found = matched([stability_case()], [stability_case(**{field: value})])
    assert bool(found.pairs) is same


def test_series_must_be_the_same() -> None:
    one = SeriesCase(ratio=0.5, threshold=0.05, dtype="float64")
    other = msgspec.structs.replace(one, dtype="float32")
    assert len(matched([one], [one]).pairs) == 1
    assert not matched([one], [other]).pairs


def test_a_case_is_matched_with_the_nearest() -> None:
    """Each of the traced and untraced ones with its like, though the devices differ."""
    ours = [profile(), profile(trace=True)]
    theirs = [profile(device="cuda", trace=True), profile(device="cuda")]
    found = matched(list(ours), list(theirs))
    assert [pair.differs for pair in found.pairs] == [{"device": ("cpu", "cuda")}] * 2


def test_the_same_case_comes_before_a_similar_one() -> None:
    same = profile(rounds=9)
    found = matched([profile(), same], [same])
    assert [pair.a.case for pair in found.pairs] == [same]
    assert [unit.case for unit in found.only_a] == [profile()]


def test_no_case_is_matched_twice_and_none_is_lost() -> None:
    ours = [profile(rounds=n) for n in (1, 2, 3)]
    theirs = [profile(rounds=n, device="cuda") for n in (4, 5)]
    found = matched(list(ours), list(theirs))
    ends = [(pair.a.case, pair.b.case) for pair in found.pairs]
    assert ends == list(zip(ours[:2], theirs, strict=True))
    assert [unit.case for unit in found.only_a] == ours[2:]
    assert found.only_b == []


def test_trials_are_one_unit_a_cell_in_order_of_their_seeds() -> None:
    planned = cases(trainings.suite())
    found = units([record(case, {}) for case in reversed(planned)])
    assert sum(len(unit.records) for unit in found) == len(planned)
    assert len(found) == 11
    for unit in found:
        seeds = [record.case.seed for record in unit.records if hasattr(record.case, "seed")]
        assert seeds == [0, 1, 2]


def test_other_seeds_of_a_cell_are_the_same_cell() -> None:
    ours = cases(trainings.suite(seeds=2))
    theirs = cases(trainings.suite(seed=5, seeds=3))
    found = matched(ours, theirs)
    assert len(found.pairs) == 11
    assert all(pair.differs == {} for pair in found.pairs)
    assert {(len(pair.a.records), len(pair.b.records)) for pair in found.pairs} == {(2, 3)}


def test_of_two_records_of_a_case_the_later_counts() -> None:
    case = profile()
    first = record(case, {}, status="failed", reason="once")
    found = units([first, record(case, {"kernels": [1.0]})])
    assert [unit.records[0].status for unit in found] == ["measured"]
