"""Where the time of a traced run goes: what the pictures and tables of it are drawn from."""

from __future__ import annotations

import pytest

from eigbench.report.chapters import traces
from eigbench.report.costs import Costs
from tests.report.profile import profiled
from tests.report.profile.profiled import profile_case

CASE = profile_case(subject="step", layer="zca", batch=128, trace=True)


def traced(**samples: list[float]) -> Costs:
    return profiled.costs(profiled.record(CASE, **samples))


def test_phases_are_in_the_order_of_the_passes() -> None:
    found = traces.phases_of(traced(), CASE.id)
    assert found["passing"].to_list() == ["forward"] * 3 + ["backward"] * 2 + ["update"]
    assert found["seconds"].sum() == pytest.approx(17e-3)
    assert traces.phases_of(traced(phase_seconds=[]), CASE.id).is_empty()


def test_events_start_at_0() -> None:
    found = traces.events_of(traced(), CASE.id)
    assert found["lane"].to_list() == ["pass", "pass", "phase", "operators", "operators"]
    assert found["length"].to_list() == pytest.approx([6, 4, 4, 3, 3])
    assert dict(found.select("name", "start").iter_rows()) == pytest.approx(
        {"forward": 0, "backward": 6, "decomposition": 1, "linalg_eigh": 1.5, "matmul": 6}
    )


@pytest.mark.parametrize("metric", ["event_start_seconds", "event_seconds", "event_lane"])
@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 5])
def test_events_that_do_not_fit_together_are_not_drawn(metric: str, values: list[float]) -> None:
    assert traces.events_of(traced(**{metric: values}), CASE.id).is_empty()


def test_operators_have_one_name_in_pictures_and_tables() -> None:
    """A timeline records who was called first, self times who did the work."""
    called = ("aten::linalg_eigh", "aten::matmul", "aten::batch_norm", "aten::conv2d")
    working = ("aten::_linalg_eigh", "aten::bmm", "aten::native_batch_norm",
               "aten::mkldnn_convolution")  # fmt: skip
    assert [*map(traces.operator_name, called)] == [*map(traces.operator_name, working)]
    assert traces.operator_name("_PairwiseEighBackward") == "_PairwiseEighBackward"
    assert (
        traces.operator_name("void at::(anonymous namespace)::one<a<b, 8> >(int, a<b>*)") == "one"
    )
    returned = "std::enable_if<!(false), void>::type in::gemvx::kernel<int, c<d> >(e) [clone .f]"
    assert traces.operator_name(returned) == "kernel"
    assert traces.operator_name("Memset (Device)") == "Memset (Device)"
    costs = traced()
    drawn = traces.events_of(costs, CASE.id).filter(lane="operators")["name"]
    assert set(drawn) <= set(traces.operators_of(costs, costs.timed)["operator"])


def test_operators_of_one_name_are_added_up() -> None:
    record = profiled.record(CASE)
    record.labels["operator"] = ["aten::bmm", "aten::mm", "aten::mul"]
    costs = profiled.costs(record)
    found = traces.operators_of(costs, costs.timed)
    assert dict(found.select("operator", "ms").iter_rows()) == pytest.approx(
        {"matmul": 7, "mul": 1}
    )
    assert dict(found.select("operator", "share").iter_rows()) == pytest.approx(
        {"matmul": 7 / 8, "mul": 1 / 8}
    )


@pytest.mark.usefixtures("undrawn")
def test_an_operator_that_takes_next_to_nothing_has_no_row() -> None:
    chapter = traces.chapter(traced(operator_self_seconds=[1.0, 0.009, 0.02]))
    assert chapter is not None
    assert "| `linalg_eigh` " in chapter.body
    assert "| `mul` " in chapter.body
    assert "| `matmul` " not in chapter.body


def test_a_timeline_is_of_matrices_and_not_of_a_step(undrawn: list[str]) -> None:
    assert traces.chapter(traced()) is not None
    assert "profile-timeline" not in undrawn
    case = profile_case(trace=True)
    found = traces.chapter(profiled.costs(profiled.record(case)))
    assert found is not None
    assert "profile-timeline" in undrawn
    assert "Bare decomposition, d = 16, float32, batch 1: one traced run" in found.body
