"""Clocks, traces, failures and trainings on CUDA."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
import torch

import eigbench
from eigbench.cli.app import invoke
from eigbench.diagnosis.matrices import given_matrices
from eigbench.kinds.profile import ProfileCase
from eigbench.measure.profile import Profiler
from eigbench.measure.timing import clock_for
from eigbench.runs.runner import attempt
from tests.gpu.counting import waits
from tests.measure.profiles import case

CUDA = "cuda"
# A thread of autograd's may be the first to multiply matrices, which torch warns of, once.
pytestmark = pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS")


def test_events_and_the_wall_agree() -> None:
    """On a kernel that spins for about 50 ms, each may be off by a tenth."""
    clock = clock_for(torch.device(CUDA))
    torch.cuda._sleep(1000)  # type: ignore[no-untyped-call]
    clock.settle()
    started, first = time.perf_counter(), clock.mark()
    torch.cuda._sleep(100_000_000)  # type: ignore[no-untyped-call]
    last = clock.mark()
    clock.settle()
    wall = time.perf_counter() - started
    assert clock.name == "cuda events"
    assert wall > 0.01
    assert clock.seconds(first, last) == pytest.approx(wall, rel=0.1)


def _cases(**changes: object) -> list[ProfileCase]:
    shared = {"device": CUDA, "seconds": 0.05, "rounds": 11, **changes}
    reference = {"method": "torch.linalg.eigh", "parameters": {}}
    return [case(**shared, **reference), case(**shared)]


def test_a_profile_has_kernels_waits_and_a_trace() -> None:
    kept: list[bytes] = []

    def keep(_case: ProfileCase, content: bytes) -> str:
        kept.append(content)
        return "traces/one"

    planned = _cases(d=16, batch=8, trace=True)
    profiler = Profiler(planned, keep)
    for one in planned:
        record = attempt(one, profiler)
        assert record.status == "measured", record.reason
        assert "anatomy_failed" not in record.labels, record.labels
        assert record.labels["clock"] == ["cuda events"]
        assert record.labels["phase_clock"] == ["device"]
        assert record.values("kernels")[0] > 0
        assert record.values("synchronisations")[0] > 0
        assert record.values("peak_bytes")[0] > 0
        assert sum(record.values("phase_seconds")) > 0
        assert any(lane.startswith("stream") for lane in record.labels["lane"])
    events = json.loads(gzip.decompress(kept[0]))["traceEvents"]
    assert any(event.get("cat") == "kernel" for event in events)


def test_out_of_memory_is_a_row() -> None:
    before = torch.cuda.memory_allocated()
    planned = _cases(d=64, batch=2**26)
    records = [attempt(one, Profiler(planned)) for one in planned]
    assert {record.status for record in records} == {"failed"}
    assert all("out of memory" in str(record.reason) for record in records)
    # And the next measurement has the memory again.
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() <= before


@pytest.mark.parametrize("subject", ["layer", "step"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_and_steps_are_timed(subject: str, dtype: str) -> None:
    shared = {"subject": subject, "layer": "zca", "d": 16, "batch": 16, "device": CUDA,
              "seconds": 0.05, "rounds": 11, "dtype": dtype}  # fmt: skip
    planned = [case(method="bn", parameters={}, **shared), case(**shared)]
    profiler = Profiler(planned)
    for one in planned:
        record = attempt(one, profiler)
        assert record.status == "measured", record.reason
        assert "anatomy_failed" not in record.labels, record.labels


@pytest.mark.parametrize(
    "words",
    [
        ("stability", "--d", "4", "--gap", "0", "--spectrum", "gap", "--method", "hybrid", "eigh",
         "--seeds", "2"),
        ("train", "--layer", "zca", "--method", "hybrid", "--d", "16", "--steps", "6"),
        ("train", "--layer", "zca", "--method", "spectral", "--d", "16", "--steps", "6",
         "--recipe", "modern"),
    ],
)  # fmt: skip
def test_commands(words: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("polars")  # reports are made of it
    out = tmp_path / "run"
    assert invoke((*words, "--device", CUDA, "--out", str(out), "--no-progress")) == 0
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert records
    assert {record["status"] for record in records} <= {"measured", "skipped"}
    assert (out / "report.md").is_file()


def test_diagnose_takes_tensors_of_the_device() -> None:
    there = eigbench.diagnose(torch.eye(4, device=CUDA))
    here = eigbench.diagnose(torch.eye(4))
    assert there.verdict == here.verdict


def test_watch_keeps_the_matrix_that_broke(tmp_path: Path) -> None:
    M = torch.eye(4, device=CUDA).requires_grad_()
    with eigbench.watch(folder=tmp_path / "watch") as watched:
        values, V = torch.linalg.eigh(M)
        torch.autograd.grad((V * values).sum(), M)
    kept = next(watched.folder.glob("first-failure.pt"))
    assert given_matrices(kept, None)[0].entries.shape == (4, 4)


def test_watch_sees_the_batched_solver(tmp_path: Path) -> None:
    M = torch.diag(torch.arange(1.0, 41, device=CUDA))
    with eigbench.watch(folder=tmp_path / "watch") as watched:
        eigbench.eigh(M, method="hybrid")
    lines = (watched.folder / "records.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["shape"] for line in lines] == [[40, 40]]


def test_watch_does_not_wait_for_the_device_at_every_call(tmp_path: Path) -> None:
    M = torch.diag(torch.arange(1.0, 5, device=CUDA)).requires_grad_()

    def work() -> None:
        for _ in range(10):
            values, _ = torch.linalg.eigh(M)
            torch.autograd.grad(values.sum(), M)

    bare = waits(work)
    with eigbench.watch(folder=tmp_path / "watch"):
        watched = waits(work)
    assert watched - bare <= 10
