"""Records one run with torch's profiler: for numbers, and as a file to open."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from eigbench.measure.timing import Contestant
from eigbench.measure.trace import PASS_PREFIX, Trace, read
from eigbench.phases import recording

# The profiler's own library writes messages to the terminal, also where nothing is wrong; it asks
# for this before its first run.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

THE_MACHINES = ("host_name", "traceName")
"""What a file says of the machine where it was made, and of a temporary file there."""

TRACED_RUNS = 5
TRACED_STEPS = 3
"""So many runs are in a file to open: the first has the caches as the profiler leaves them."""


def record(contestant: Contestant, device: torch.device) -> Trace:
    """The trace of one run, with memory, without stacks, which would take time themselves.

    Of an odd number of runs the one that took the median time: in another the machine may have
    paused, and the pause would count as the phase that it happened in.
    """
    _run(contestant, device)
    traces = [_record_once(contestant, device) for _ in range(TRACED_RUNS)]
    return sorted(traces, key=lambda trace: sum(one.seconds for one in trace.passes))[
        len(traces) // 2
    ]


def _record_once(contestant: Contestant, device: torch.device) -> Trace:
    inputs = contestant.prepare()
    with profile(activities=_activities(device), profile_memory=True) as profiler, recording():
        _passes(contestant, inputs)
        _wait(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return read(path)


def record_file(contestant: Contestant, device: torch.device) -> bytes:
    """Some runs as TensorBoard and Perfetto take them, compressed: shapes, stacks and memory."""
    found: list[bytes] = []

    def keep(profiler: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(path))
            content = json.loads(path.read_bytes())
            for name in THE_MACHINES:
                content.pop(name, None)
            # Without the time of day, so that the same trace gives the same bytes.
            found.append(gzip.compress(json.dumps(content).encode(), mtime=0))

    with profile(
        activities=_activities(device),
        schedule=schedule(wait=0, warmup=1, active=TRACED_STEPS, repeat=1),
        on_trace_ready=keep,
        record_shapes=True,
        profile_memory=True,
        with_stack=True,
        acc_events=True,
    ) as profiler, recording():  # fmt: skip
        for _ in range(1 + TRACED_STEPS):
            _run(contestant, device)
            profiler.step()
    return found[0]


def _run(contestant: Contestant, device: torch.device) -> None:
    _passes(contestant, contestant.prepare())
    _wait(device)


def _passes(contestant: Contestant, state: Any) -> None:
    for name, step in contestant.passes.items():
        with record_function(PASS_PREFIX + name):
            state = step(state)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _activities(device: torch.device) -> list[ProfilerActivity]:
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    return activities
