"""Records as profiles: what is paired with what, and what is missing."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.report.profile import calls, work
from eigbench.report.profile.naming import Names, functions_only, over, size, title
from eigbench.report.profile.profiles import Profile, gather, reference, workloads
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.store import Environment, Run
from eigbench.runs.suite import cases
from tests.report.profile import profiled
from tests.report.trainings import environment


def profile(case: ProfileCase, **samples: list[float]) -> Profile:
    return Profile(case, profiled.record(case, **samples))


def rounds(forward: list[float], reference: list[float] | None) -> Profile:
    """A profile with these times, forward and backward alike, beside a reference's."""
    samples = {"forward_seconds": forward, "backward_seconds": forward}
    for name in ("forward", "backward"):
        samples[f"reference_{name}_seconds"] = reference or []
    return profile(profiled.profile_case(), **samples)


def test_a_ratio_is_exact_whatever_the_machine_does() -> None:
    """The rounds drift by a factor of 100; the ratio of each is 1.3."""
    drift = list(np.geomspace(1, 100, 21))
    found = rounds([1.3 * value for value in drift], drift).ratio
    assert found is not None
    assert (found.middle, found.low, found.high) == pytest.approx((1.3, 1.3, 1.3), rel=1e-5)
    time = rounds(drift, drift).time
    assert time is not None
    assert time.noisy


def test_a_ratio_is_the_median_of_ratios() -> None:
    """Seven ratios from 7 to 1, of which 4 is the median; the medians' quotient is 12/4."""
    beside = [1.0, 2, 3, 4, 5, 6, 7]
    own = [7.0, 12, 15, 16, 15, 12, 7]
    found = rounds(own, beside).ratio
    assert found is not None
    assert found.middle == 4
    assert np.median(own) / np.median(beside) == 3


@pytest.mark.parametrize("beside", [None, [1.0], [math.nan] * 3, [0.0] * 3])
def test_without_a_reference_of_the_same_rounds_there_is_no_ratio(
    beside: list[float] | None,
) -> None:
    assert rounds([1.0, 2.0, 3.0], beside).ratio is None


def test_a_run_is_forward_backward_and_update() -> None:
    case = profiled.profile_case(subject="step", layer="zca")
    passes = {"forward_seconds": [1.0], "backward_seconds": [2.0], "update_seconds": [4.0]}
    time = profile(case, **passes).time
    assert time is not None
    assert time.middle == 7
    assert profile(case, **{**passes, "update_seconds": [4.0, 4.0]}).time is None
    assert profile(case, **{**passes, "backward_seconds": []}).time is None


def test_only_what_was_timed_in_turn_is_compared() -> None:
    """A resumed run has other rounds: as many, and not the same."""
    case = profiled.profile_case()
    one, other = profile(case), profile(msgspec.structs.replace(case, method="eigh"))
    ratio = one.over(other)
    assert ratio is not None
    assert ratio.middle == pytest.approx(1.30 / 1.02, rel=1e-4)
    assert one.record is not None
    later: list[list[str]] = [["later"], []]
    for word in later:
        labels = {**one.record.labels, "contest": word}
        changed = msgspec.structs.replace(one.record, labels=labels)
        resumed = Profile(case, changed)
        assert resumed.over(other) is None
        assert resumed.added(other) is None


def test_what_a_layer_adds_is_a_difference_of_rounds() -> None:
    case = profiled.profile_case(subject="layer", layer="zca")
    beside = profile(msgspec.structs.replace(case, method="none", parameters={}))
    added = profile(case).added(beside)
    assert added is not None
    assert added.middle == pytest.approx((1.3 - 0.5) * 2e-3, rel=1e-4)


def test_the_reference_is_that_of_the_workload() -> None:
    wanted = profiled.suite()
    found = gather(cases(wanted), [profiled.record(case) for case in cases(wanted)])
    for one in found:
        if one.status == "measured":
            own = reference(found, one)
            assert own is not None
            assert own.case.method == ("torch.linalg.eigh" if one.case.layer is None else "bn")
            assert own.case.workload == one.case.workload
    assert all(len({p.case.workload.id for p in group}) == 1 for group in workloads(found))


def test_planned_cases_come_in_their_order_and_others_after() -> None:
    wanted = profiled.suite()
    planned = list(cases(wanted))
    extra = profiled.profile_case(d=77)
    records = [profiled.record(case) for case in [extra, *reversed(planned[:10])]]
    found = gather(planned, records)
    assert [one.case.id for one in found] == [*(case.id for case in planned), extra.id]
    assert {one.status for one in found[:10]} == {"measured"}
    assert {one.status for one in found[10:-1]} == {"planned"}
    assert gather(planned, []) == []


def test_names_tell_what_differs() -> None:
    usual = profiled.profile_case()
    few = profiled.profile_case(parameters={"iterations": 2})
    names = Names([Profile(usual), Profile(usual), Profile(few)])
    assert names.of(usual) == "hybrid"
    assert names.of(few) == "hybrid, K = 2"
    assert names.of(msgspec.structs.replace(few, compiled=True)) == "hybrid, K = 2, compiled"
    pca = profiled.profile_case(subject="layer", layer="pca", d=None, energy=0.99, batch=128)
    assert size(pca) == "PCA, 99 % kept"
    assert title(pca) == "layer, PCA, 99 % kept, float32, batch 128"
    assert size(usual) == "d = 16"


def test_references_come_first_and_the_compiled_next_to_its_own() -> None:
    order = ["hybrid", "eigh", "torch.linalg.eigh"]
    made = [Profile(profiled.profile_case(method=name, parameters={})) for name in order]
    made.append(Profile(profiled.profile_case(parameters={}, compiled=True)))
    names = list(Names(made).group(made))
    assert names == ["torch.linalg.eigh", "hybrid", "hybrid, compiled", "eigh"]


def test_what_a_sentence_is_over() -> None:
    wanted = profiled.suite()
    run = Run(suite=wanted, records=[],
              environment=Environment(schema=SCHEMA, sessions=[environment()]))  # fmt: skip
    made = [Profile(case) for case in cases(wanted)
            if isinstance(case, ProfileCase) and case.subject == "layer"]  # fmt: skip
    assert over(run, made) == (
        "float32; ZCA with d = 4 to 16, PCA with 99 % kept; batch 128; cpu, 1 thread"
    )


def test_a_method_that_was_timed_on_something_else_is_named() -> None:
    made = [profile(profiled.profile_case(method=name)) for name in ("hybrid", "spectral")]
    text = functions_only(made, Names(made))
    assert "timed on the inverse square root" in text
    assert text.endswith("**spectral**.")
    assert functions_only(made[:1], Names(made)) == ""


def test_the_rate_is_work_over_time() -> None:
    """17·16³ operations in 1.3·(10 µs + 4.096 µs), of a peak of 50 GFLOP/s."""
    one = profile(profiled.profile_case())
    seconds = 1.3 * (1e-5 + 1e-9 * 16**3)
    assert work.rate(one) == pytest.approx(17 * 16**3 / seconds / 1e9, rel=1e-4)
    assert work.peak(one) == pytest.approx(50)
    assert math.isnan(work.rate(profile(profiled.profile_case(compiled=True))))
    assert math.isnan(work.peak(profile(profiled.profile_case(), matmul_flops_per_second=[])))


def test_compilation_gains_against_the_same_method() -> None:
    case = profiled.profile_case(d=32, batch=256)
    compiled = msgspec.structs.replace(case, compiled=True)
    another = msgspec.structs.replace(case, parameters={"iterations": 2})
    made = [profile(one) for one in (case, another, compiled)]
    (gained,) = calls.gains(made, made[-1:])
    assert gained.middle == pytest.approx(0.8, rel=1e-4)
    assert calls.gains(made[1:], made[-1:]) == []


def test_a_record_with_nothing_in_it() -> None:
    case = profiled.profile_case(trace=True)
    bare = Profile(case, Record(schema=SCHEMA, id=case.id, case=case, status="measured"))
    assert bare.time is None
    assert bare.ratio is None
    assert bare.words("operator") == []
    assert math.isnan(bare.once("peak_bytes"))
