"""Where the time of a traced run goes: what the pictures of it are drawn from."""

from __future__ import annotations

import msgspec
import pytest

from eigbench.report.profile import breakdown, counted, timeline, traces
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import Profile
from tests.report.profile import profiled


def traced(**samples: list[float]) -> Profile:
    case = profiled.profile_case(subject="step", layer="zca", batch=128, trace=True)
    return Profile(case, profiled.record(case, **samples))


def test_phases_are_in_the_order_of_the_passes() -> None:
    found = breakdown.parts(traced())
    assert [name for name, _, _ in found] == ["forward"] * 3 + ["backward"] * 2 + ["update"]
    assert sum(seconds for _, _, seconds in found) == pytest.approx(17e-3)
    assert breakdown.parts(traced(phase_seconds=[])) == []


def test_a_workload_that_was_traced_is_chosen_before_others() -> None:
    with_trace = traced()
    case = msgspec.structs.replace(with_trace.case, d=64, trace=False)
    without = Profile(case, profiled.record(case))
    assert breakdown.chosen([without, with_trace]) == [[with_trace]]
    assert breakdown.chosen([without]) == [[without]]
    assert breakdown.chosen([]) == []


def test_events_start_at_0_and_the_longer_are_drawn_first() -> None:
    found = timeline.events(traced())
    assert [event.name for event in found[:2]] == ["forward", "backward"]
    assert [event.length for event in found] == sorted(
        (event.length for event in found), reverse=True
    )
    starts = {event.name: event.start for event in found}
    assert starts == pytest.approx(
        {"forward": 0, "backward": 6, "decomposition": 1, "aten::linalg_eigh": 1.5, "aten::bmm": 6}
    )


@pytest.mark.parametrize("metric", ["event_start_seconds", "event_seconds", "event_lane"])
@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 5])
def test_events_that_do_not_fit_together_are_not_drawn(metric: str, values: list[float]) -> None:
    assert timeline.events(traced(**{metric: values})) == []


def test_operators_have_their_time_and_calls() -> None:
    assert traces.operators(traced())["aten::bmm"] == (3e-3, 6)
    assert traces.operators(traced(operator_calls=[])) == {}


def test_what_is_counted_is_shown_at_the_fullest_batch_and_at_six_sizes() -> None:
    def made(d: int, batch: int) -> Profile:
        case = profiled.profile_case(d=d, batch=batch)
        return Profile(case, profiled.record(case, peak_bytes=[d]))

    sizes = (4, 8, 12, 16, 24, 32, 33, 48, 64, 96, 128)
    profiles = [made(d, 1) for d in sizes] + [made(d, 256) for d in (16, 48)]
    assert {p.case.batch for p in counted.fullest(profiles)} == {1}
    kinds = [("peak", lambda profile: f"{profile.once('peak_bytes'):.0f}")]
    title, text = counted.tables(profiles, Names(profiles), kinds)
    assert title == "**Operation, float32, batch 1: peak**"
    head = [cell.strip() for cell in text.splitlines()[0].split("|")[1:-1]]
    assert head == ["method \\ d", "4", "12", "24", "33", "64", "128"]
    row = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert row[1:] == head[1:]
