"""Where the time of a traced run goes: what the pictures and tables of it are drawn from."""

from __future__ import annotations

import math

import pytest

from eigbench.report.chapters import traces
from eigbench.report.costs import Costs, by_size, fullest
from tests.report.profile import profiled
from tests.report.profile.profiled import profile_case

CASE = profile_case(subject="step", layer="zca", batch=128, trace=True)


def traced(**samples: list[float]) -> Costs:
    return profiled.costs(profiled.record(CASE, **samples))


def test_phases_are_in_the_order_of_the_passes() -> None:
    found = traces.phases_of(traced(), CASE.id)
    assert [name for name, _, _ in found] == ["forward"] * 3 + ["backward"] * 2 + ["update"]
    assert sum(seconds for _, _, seconds in found) == pytest.approx(17e-3)
    assert traces.phases_of(traced(phase_seconds=[]), CASE.id) == []


def test_events_start_at_0_and_the_longer_are_drawn_first() -> None:
    found = traces.events_of(traced(), CASE.id)
    assert [event.name for event in found[:2]] == ["forward", "backward"]
    lengths = [event.length for event in found]
    assert lengths == sorted(lengths, reverse=True)
    starts = {event.name: event.start for event in found}
    assert starts == pytest.approx(
        {"forward": 0, "backward": 6, "decomposition": 1, "linalg_eigh": 1.5, "matmul": 6}
    )


@pytest.mark.parametrize("metric", ["event_start_seconds", "event_seconds", "event_lane"])
@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 5])
def test_events_that_do_not_fit_together_are_not_drawn(metric: str, values: list[float]) -> None:
    assert traces.events_of(traced(**{metric: values}), CASE.id) == []


def test_operators_have_one_name_in_pictures_and_tables() -> None:
    """A timeline records who was called first, self times who did the work."""
    called = ("aten::linalg_eigh", "aten::matmul", "aten::batch_norm", "aten::conv2d")
    working = ("aten::_linalg_eigh", "aten::bmm", "aten::native_batch_norm",
               "aten::mkldnn_convolution")  # fmt: skip
    assert [*map(traces.operator_name, called)] == [*map(traces.operator_name, working)]
    assert traces.operator_name("_PairwiseEighBackward") == "_PairwiseEighBackward"
    costs = traced()
    shown = {event.name for event in traces.events_of(costs, CASE.id) if event.is_operator}
    assert shown <= set(traces.operators_of(costs, CASE.id))


def test_operators_of_one_name_are_added_up() -> None:
    record = profiled.record(CASE)
    record.labels["operator"] = ["aten::bmm", "aten::mm", "aten::mul"]
    found = traces.operators_of(profiled.costs(record), CASE.id)
    assert found == pytest.approx({"matmul": 7e-3, "mul": 1e-3})


def test_what_is_counted_is_shown_at_the_fullest_batch_and_at_six_sizes() -> None:
    sizes = (4, 8, 12, 16, 24, 32, 33, 48, 64, 96, 128)
    places = [(d, 1) for d in sizes] + [(d, 256) for d in (16, 48)]
    costs = profiled.costs(*(
        profiled.record(profile_case(d=d, batch=batch), peak_bytes=[d]) for d, batch in places
    ))  # fmt: skip
    rows = fullest(costs.profiles, 6)
    assert rows["batch"].unique().to_list() == [1]
    text = by_size(rows, lambda row: f"{row['peak_bytes']:.0f}")
    head = [cell.strip() for cell in text.splitlines()[0].split("|")[1:-1]]
    assert head == ["method \\ d", "4", "12", "24", "33", "64", "128"]
    row = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert row[1:] == head[1:]


def test_a_column_names_its_batch_where_others_were_planned() -> None:
    """Of several batches one alone was measured: the title says "by batch", the column which."""
    planned = [profile_case(d=8, batch=batch) for batch in (1, 4)]
    costs = Costs(profiled.frames([profiled.record(planned[1])], planned))
    assert "d = 8, batch 4 |" in by_size(costs.profiles, lambda _: "1")


def test_the_rate_is_work_over_time() -> None:
    """17·16³ operations in 1.3·(10 µs + 4.096 µs), of a peak of 50 GFLOP/s."""
    case, compiled = profile_case(), profile_case(compiled=True)
    costs = profiled.costs(profiled.record(case), profiled.record(compiled))
    seconds = 1.3 * (1e-5 + 1e-9 * 16**3)
    eager, other = costs.profiles.iter_rows(named=True)
    assert traces.rate(costs, eager) == pytest.approx(17 * 16**3 / seconds / 1e9, rel=1e-4)
    assert traces.peak(costs, case.id) == pytest.approx(50)
    assert math.isnan(traces.rate(costs, other))
    no_peak = profiled.costs(profiled.record(case, matmul_flops_per_second=[]))
    assert math.isnan(traces.peak(no_peak, case.id))
