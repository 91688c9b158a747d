"""What is read from a profiler's trace: of traces written by hand, and of real ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from eigbench.measure.anatomy import LONGEST_EVENTS, anatomy
from eigbench.measure.contestants import make
from eigbench.measure.timing import Contestant
from eigbench.measure.trace import (
    TRACED_STEPS,
    Entry,
    Event,
    Trace,
    parents,
    parse,
    peak_bytes,
    read,
    record,
    record_file,
    self_seconds,
)
from eigbench.phases import PHASES
from tests.measure.profiles import case

CPU = torch.device("cpu")


def entry(
    name: str,
    start: float,
    length: float,
    category: str = "cpu_op",
    *,
    tid: Any = 1,
    link: int | None = None,
) -> dict[str, Any]:
    """An event of Chrome's format; times in microseconds."""
    return {
        "ph": "X", "cat": category, "name": name, "pid": 9, "tid": tid, "ts": start, "dur": length,
        "args": {} if link is None else {"External id": link},
    }  # fmt: skip


def trace_of(entries: list[dict[str, Any]]) -> Trace:
    return parse(msgspec.convert(entries, list[Entry]))


def memory(time: float, size: int, device_type: int = 0) -> dict[str, Any]:
    return {
        "ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "ts": time,
        "args": {"Bytes": size, "Device Type": device_type},
    }  # fmt: skip


def in_range(name: str, start: float, length: float) -> dict[str, Any]:
    return entry(f"eigbench::{name}", start, length, "user_annotation")


# On a thread: a pass forward 0–100 with a decomposition 10–60, in which one operator calls another;
# a pass backward 100–200 with products 110–130 inside of coefficients 105–140.
ON_HOST = [
    in_range("pass::forward", 0, 100),
    in_range("decomposition", 10, 50),
    entry("aten::linalg_eigh", 12, 40),
    entry("aten::_linalg_eigh", 14, 30),
    entry("aten::add", 70, 10),
    in_range("pass::backward", 100, 100),
    in_range("coefficients", 105, 35),
    in_range("products", 110, 20),
    entry("autograd::engine::evaluate_function: HybridBackward", 104, 40),
    entry("HybridBackward", 105, 36),
    entry("aten::mm", 111, 5),
    entry("aten::mm", 120, 7),
    entry("aten::outside", 250, 10),
    memory(1, 1000),
    memory(2, -400),
    memory(3, 900),
    memory(4, -1500),
    memory(5, 10**6, device_type=1),
]


def host_trace() -> Trace:
    return trace_of(ON_HOST)


def test_a_trace_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": ON_HOST}))
    assert read((tmp_path / "trace.json").read_bytes()) == host_trace()


def test_passes_and_phases_are_told_apart() -> None:
    trace = host_trace()
    assert [one.name for one in trace.passes] == ["forward", "backward"]
    assert [one.name for one in trace.phases] == ["decomposition", "coefficients", "products"]


def test_what_lies_outside_of_the_passes_is_no_operator_of_the_run() -> None:
    assert "aten::outside" not in [operator.name for operator in host_trace().operators]


def test_operators_have_the_ones_that_call_them() -> None:
    operators = host_trace().operators
    called_by = {
        operator.name: operators[parent].name if parent is not None else None
        for operator, parent in zip(operators, parents(operators), strict=True)
    }
    assert called_by["aten::_linalg_eigh"] == "aten::linalg_eigh"
    assert called_by["aten::linalg_eigh"] is None
    assert called_by["aten::mm"] == "HybridBackward"


def test_events_of_other_threads_are_not_inside_each_other() -> None:
    events = trace_of([entry("a", 0, 10), entry("b", 2, 3, tid=2)]).events
    assert parents(events) == [None, None]


def test_an_events_own_time_is_without_that_of_those_inside() -> None:
    events = trace_of([entry("a", 0, 100), entry("b", 10, 30), entry("c", 15, 5)]).events
    assert self_seconds(events) == pytest.approx([70e-6, 25e-6, 5e-6])


def test_peak_memory_is_above_the_start_and_of_one_device() -> None:
    trace = host_trace()
    assert peak_bytes(trace.memory, on_host=True) == 1500
    assert peak_bytes(trace.memory, on_host=False) == 10**6
    assert peak_bytes([], on_host=True) == 0


def of_trace(
    monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], device: str = "cpu"
) -> Any:
    """The anatomy that a trace written by hand has."""
    monkeypatch.setattr("eigbench.measure.anatomy.record", lambda *_: trace_of(entries))
    monkeypatch.setattr("eigbench.measure.anatomy.saved_bytes", lambda _: 7)
    nothing = Contestant(lambda: (), {"forward": lambda state: state})
    return anatomy(nothing, torch.device(device), compiled=True, timeline=True)


def test_phases_add_up_to_their_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, labels = of_trace(monkeypatch, ON_HOST)
    spent = dict(
        zip(
            zip(labels["phase_pass"], labels["phase"], strict=True),
            samples["phase_seconds"],
            strict=True,
        )
    )
    assert spent == pytest.approx(
        {
            ("forward", "decomposition"): 50e-6,
            ("forward", "other"): 50e-6,
            ("backward", "coefficients"): 15e-6,  # without the products inside of it
            ("backward", "products"): 20e-6,
            ("backward", "other"): 65e-6,
        }
    )
    assert labels["phase_clock"] == ["host"]


def test_leaf_operators_are_counted_by_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = of_trace(monkeypatch, ON_HOST)
    assert samples["forward_operators"] == [2]  # _linalg_eigh, add
    assert samples["backward_operators"] == [2]  # the products; autograd's node only wraps them
    assert "kernels" not in samples
    assert "synchronisations" not in samples


def test_the_longest_operators_come_first_by_their_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, labels = of_trace(monkeypatch, ON_HOST)
    own = dict(zip(labels["operator"], samples["operator_self_seconds"], strict=True))
    assert labels["operator"][0] == "aten::_linalg_eigh"
    assert own["aten::linalg_eigh"] == pytest.approx(10e-6)
    assert own["aten::mm"] == pytest.approx(12e-6)
    calls = dict(zip(labels["operator"], samples["operator_calls"], strict=True))
    assert calls["aten::mm"] == 2
    assert samples["operator_self_seconds"] == sorted(samples["operator_self_seconds"])[::-1]


def test_the_timeline_starts_with_the_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, labels = of_trace(monkeypatch, ON_HOST)
    assert labels["lane"] == ["pass", "phase", "operators"]
    events = list(
        zip(
            labels["event"],
            samples["event_lane"],
            samples["event_start_seconds"],
            samples["event_seconds"],
            strict=True,
        )
    )
    assert events[0] == ("forward", 0, 0.0, pytest.approx(100e-6))
    operators = [name for name, lane, *_ in events if lane == 2]
    assert operators == ["aten::linalg_eigh", "aten::add", "aten::mm", "aten::mm"]


def test_a_timeline_has_the_longest_events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [entry("aten::add", 10 * k, 1 + k % 5) for k in range(3 * LONGEST_EVENTS)]
    samples, _ = of_trace(monkeypatch, [in_range("pass::forward", 0, 10**6), *many])
    assert len(samples["event_seconds"]) == LONGEST_EVENTS
    assert min(samples["event_seconds"][1:]) == pytest.approx(4e-6)


# A GPU: kernels run in a stream, later than the operators that launched them; the backward pass is
# in a thread of autograd's.
ON_DEVICE = [
    in_range("pass::forward", 0, 100),
    in_range("decomposition", 10, 60),
    entry("aten::_linalg_eigh", 12, 50, link=1),
    entry("cudaLaunchKernel", 15, 2, "cuda_runtime", link=1),
    entry("cudaStreamSynchronize", 20, 40, "cuda_runtime", link=1),
    in_range("pass::backward", 100, 100),
    {**in_range("products", 110, 50), "tid": 2},
    entry("aten::bmm", 112, 10, tid=2, link=2),
    entry("cudaMemcpyAsync", 113, 5, "cuda_runtime", tid=2, link=2),
    entry("cudaDeviceSynchronize", 210, 90, "cuda_runtime"),  # the profiler's own, after the run
    entry("syevd", 30, 200, "kernel", tid=7, link=1),
    entry("gemm", 240, 30, "kernel", tid=7, link=2),
    entry("gemm", 280, 20, "kernel", tid=8, link=2),
    entry("Memcpy", 300, 1, "gpu_memcpy", tid=8, link=99),
    memory(1, 64, device_type=1),
    memory(2, 5000),
]


def test_on_a_gpu_the_kernels_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, labels = of_trace(monkeypatch, ON_DEVICE, "cuda")
    assert samples["kernels"] == [4]
    assert samples["synchronisations"] == [1]  # not the one after the run
    assert samples["peak_bytes"] == [64]
    spent = dict(zip(labels["phase"], samples["phase_seconds"], strict=True))
    assert spent == pytest.approx({"decomposition": 200e-6, "products": 50e-6})
    assert labels["phase_clock"] == ["device"]
    own = dict(zip(labels["operator"], samples["operator_self_seconds"], strict=True))
    assert own == pytest.approx({"aten::_linalg_eigh": 200e-6, "aten::bmm": 50e-6})
    assert labels["lane"] == ["pass", "phase", "operators", "stream 7", "stream 8"]


# Real traces


def test_a_layers_phases_are_in_its_trace() -> None:
    trace = record(make(case(subject="layer", layer="zca", method="hybrid", batch=2)), CPU)
    assert [one.name for one in trace.passes] == ["forward", "backward"]
    assert {phase.name for phase in trace.phases} == set(PHASES)
    assert {operator.name for operator in trace.operators} >= {"aten::linalg_eigh", "aten::bmm"}


def test_of_several_runs_the_one_of_median_length_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = iter([3.0, 50.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(
        "eigbench.measure.trace._record_once",
        lambda *_: (length := next(lengths), lambda: trace_of([in_range("p", 0, length)])),
    )
    trace = record(make(case()), CPU)
    assert trace.events[0].seconds == pytest.approx(3e-6)


def test_long_runs_are_traced_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause of milliseconds is a small part of them; of two there is no middle one."""
    for lengths, count in ([0.3], 1), ([0.2, 0.1, 0.09], 3), ([0.09] * 5, 3):
        left = list(lengths)
        monkeypatch.setattr(
            "eigbench.measure.trace._record_once",
            lambda *_, left=left: (left.pop(), lambda: trace_of([])),
        )
        record(make(case()), CPU)
        assert len(lengths) - len(left) == count


def test_peak_memory_of_a_real_run() -> None:
    # The sum is freed before the product of it is made: two blocks at once, and never three.
    block = 4 * 2**20

    def forward(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        doubled = inputs[0] + inputs[0]
        return doubled * doubled

    X = torch.ones(block // 4)
    trace = record(Contestant(lambda: (X,), {"forward": forward}), CPU)
    assert peak_bytes(trace.memory, on_host=True) == 2 * block


def test_a_file_to_open_has_shapes_stacks_memory_and_steps() -> None:
    content = gzip.decompress(record_file(make(case(d=8)), CPU))
    assert not {"host_name", "traceName"} & set(json.loads(content))
    entries = json.loads(content)["traceEvents"]
    assert any("Input Dims" in each.get("args", {}) for each in entries)
    assert any(each.get("cat") == "python_function" for each in entries)
    assert any(each["name"] == "[memory]" for each in entries)
    steps = {each["name"] for each in entries if each["name"].startswith("ProfilerStep#")}
    assert len(steps) == TRACED_STEPS


def test_events_know_their_end() -> None:
    assert Event("a", "cpu_op", (1, 1), 2.0, 0.5, None).end == 2.5
