"""Records as profiles: what is paired with what, what is shown, and what is missing."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.report import costs as of_costs
from eigbench.report.chapters.profile import function_times
from eigbench.report.costs import Costs
from eigbench.report.frame import values_of
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.suite import cases
from tests.report.profile import profiled
from tests.report.profile.profiled import profile_case

CASE = profile_case()


def rounds(forward: list[float], reference: list[float] | None) -> Costs:
    """A profile with these times, forward and backward alike, beside a reference's."""
    samples = {"forward_seconds": forward, "backward_seconds": forward}
    for name in ("forward", "backward"):
        samples[f"reference_{name}_seconds"] = reference or []
    return profiled.costs(profiled.record(CASE, **samples))


def golden() -> Costs:
    planned = list(cases(profiled.suite()))
    return Costs(profiled.frames([profiled.record(case) for case in planned], planned))


def test_a_ratio_is_exact_whatever_the_machine_does() -> None:
    """The rounds drift by a factor of 100; the ratio of each is 1.3."""
    drift = list(np.geomspace(1, 100, 21))
    found = rounds([1.3 * value for value in drift], drift).ratios[CASE.id]
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((1.3, 1.3, 1.3), rel=1e-5)
    time = rounds(drift, drift).times[CASE.id]
    assert time is not None
    assert time.noisy


def test_a_ratio_is_the_median_of_ratios() -> None:
    """Seven ratios from 7 to 1, of which 4 is the median; the medians' quotient is 12/4."""
    own, beside = [7.0, 12, 15, 16, 15, 12, 7], [1.0, 2, 3, 4, 5, 6, 7]
    found = rounds(own, beside).ratios[CASE.id]
    assert found is not None
    assert found.value == 4
    assert np.median(own) / np.median(beside) == 3


@pytest.mark.parametrize("beside", [None, [1.0], [math.nan] * 3, [0.0] * 3])
def test_without_a_reference_of_the_same_rounds_there_is_no_ratio(
    beside: list[float] | None,
) -> None:
    assert rounds([1.0, 2.0, 3.0], beside).ratios[CASE.id] is None


def test_a_run_is_forward_backward_and_update() -> None:
    case = profile_case(subject="step", layer="zca")
    passes = {"forward_seconds": [1.0], "backward_seconds": [2.0], "update_seconds": [4.0]}
    time = profiled.costs(profiled.record(case, **passes)).times[case.id]
    assert time is not None
    assert time.value == 7
    changes: list[dict[str, list[float]]] = [
        {"update_seconds": [4.0, 4.0]},
        {"backward_seconds": []},
    ]
    for change in changes:
        broken = {**passes, **change}
        assert profiled.costs(profiled.record(case, **broken)).times[case.id] is None


def test_one_round_is_one_round() -> None:
    """Lists of other lengths in the same record, such as operators, do not multiply it."""
    one = {"forward_seconds": [1.0], "backward_seconds": [2.0]}
    costs = profiled.costs(profiled.record(CASE, **one))
    assert costs.profiles["rounds"].to_list() == [1]


def test_only_what_was_timed_in_turn_is_compared() -> None:
    """A resumed run has other rounds: as many, and not the same."""
    other = msgspec.structs.replace(CASE, method="eigh")
    one = profiled.record(CASE)
    ratio = profiled.costs(one, profiled.record(other)).over(CASE.id, other.id)
    assert ratio is not None
    assert ratio.value == pytest.approx(1.30 / 1.02, rel=1e-4)
    later: list[list[str]] = [["later"], []]
    for word in later:
        labels = {**one.labels, "contest": word}
        resumed = msgspec.structs.replace(one, labels=labels)
        costs = profiled.costs(resumed, profiled.record(other))
        assert costs.over(CASE.id, other.id) is None


def test_planned_cases_have_a_place_by_size_and_a_status() -> None:
    planned = list(cases(profiled.suite()))
    extra = profile_case(d=77)
    records = [profiled.record(case) for case in [extra, *reversed(planned[:10])]]
    found = Costs(profiled.frames(records, planned)).profiles
    assert sorted(found["id"]) == sorted([*(case.id for case in planned), extra.id])
    sizes = found.filter(subject="operation", dtype="float32").unique("d", maintain_order=True)["d"]
    assert sizes.to_list() == [8, 16, 32, 33, 64, 77, 128]
    statuses = dict(found["status"].value_counts().iter_rows())
    assert statuses == {"measured": 11, "planned": len(planned) - 10}


def test_names_say_what_differs() -> None:
    usual = profile_case()
    few = profile_case(parameters={"iterations": 2})
    compiled = msgspec.structs.replace(few, compiled=True)
    none = profile_case(subject="layer", layer="pca", d=None, energy=0.99, method="none",
                        parameters={}, batch=128)  # fmt: skip
    names = [of_costs.contestant(case, 19) for case in (usual, few, compiled, none)]
    assert names == ["hybrid", "hybrid, K = 2", "hybrid, K = 2, compiled", "no layer"]
    (row,) = profiled.costs(profiled.record(none)).profiles.iter_rows(named=True)
    assert of_costs.title(row) == "PCA layer, 99 % kept, float32, batch 128"


def test_references_come_first_and_the_compiled_next_to_its_own() -> None:
    order = ["hybrid", "eigh", "torch.linalg.eigh"]
    made = [profile_case(method=name, parameters={}) for name in order]
    made.append(profile_case(parameters={}, compiled=True))
    found = profiled.costs(*map(profiled.record, made)).profiles
    assert values_of(found, "contestant") == [
        "torch.linalg.eigh", "hybrid", "hybrid, compiled", "eigh",
    ]  # fmt: skip


def test_a_whitening_is_shown_before_the_bare_decomposition() -> None:
    """Whatever the order of the records; a subject that nobody knows comes last."""
    made = [profile_case(subject=one) for one in ("other", "operation", "whitening")]
    records = [profiled.record(profile_case())] + [
        msgspec.structs.replace(profiled.record(profile_case()), id=case.id, case=case)
        for case in made
    ]
    assert profiled.costs(*records).profiles["what"].unique(maintain_order=True).to_list() == [
        "function M^(−1/2)", "bare decomposition", "other",
    ]  # fmt: skip


def test_who_is_slower_where_all_rounds_agree() -> None:
    costs = golden()
    for (_,), own in costs.timed.filter(subject="layer").group_by("workload"):
        keys = dict(own.select("contestant", "id").iter_rows())
        assert costs.is_slower(keys["pi"], keys["hybrid"])
        assert not costs.is_slower(keys["hybrid"], keys["pi"])
        assert not costs.is_slower(keys["pi"], "of no case")


def scattered(seed: int, count: int) -> list[Record]:
    """Methods without any difference from their reference: rounds scatter at random."""
    draw = np.random.default_rng(seed)
    made = []
    for d in range(8, 8 + count):
        case = profile_case(d=d)
        names = ("forward", "backward", "reference_forward", "reference_backward")
        samples = {f"{name}_seconds": list(np.exp(draw.normal(0, 0.05, 25))) for name in names}
        made.append(profiled.record(case, **samples))
    return made


def test_of_many_ratios_chance_alone_shows_none() -> None:
    """The interval of some excludes 1, as one in twenty does: corrected for all, none is shown."""
    costs = profiled.costs(*scattered(1, 100))
    ratios = [costs.ratios[key] for key in costs.timed["id"]]
    excluded = sum(not one.low <= 1 <= one.high for one in ratios if one)
    assert excluded > 1
    assert not any(decision.shown for decision in costs.decisions.values())


def test_the_time_of_a_function_is_of_whitening_where_that_was_measured() -> None:
    operation = [profiled.record(profile_case(method=name)) for name in ("hybrid", "eigh")]
    assert function_times(profiled.frames(operation))["subject"].unique().to_list() == ["operation"]
    whitening = []
    for one in operation:
        assert isinstance(one.case, ProfileCase)
        case = msgspec.structs.replace(one.case, subject="whitening")
        whitening.append(msgspec.structs.replace(one, id=case.id, case=case))
    found = function_times(profiled.frames([*operation, *whitening]))
    assert found["subject"].unique().to_list() == ["whitening"]
    assert dict(found.select("method", "ratio").iter_rows()) == pytest.approx(
        {"hybrid": 1.30, "eigh": 1.02}, rel=1e-4
    )
    assert found["n_rounds"].unique().to_list() == [profiled.ROUNDS]
    nothing = function_times(profiled.frames([]))
    assert nothing.is_empty()
    assert nothing.columns == found.columns


def test_a_record_with_nothing_in_it() -> None:
    case = profile_case(trace=True)
    costs = profiled.costs(Record(schema=SCHEMA, id=case.id, case=case, status="measured"))
    assert costs.times[case.id] is None
    assert costs.ratios[case.id] is None
    assert costs.timed.is_empty()
    assert math.isnan(costs.once(case.id, "peak_bytes"))
