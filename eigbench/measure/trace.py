"""Records one run with torch's profiler, and reads what such a trace says."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch.autograd.profiler import profile as one_cycle
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from eigbench.measure.timing import Contestant
from eigbench.phases import PREFIX, recording

PASS_PREFIX = PREFIX + "pass::"

WAITING = frozenset(
    {
        "cudaStreamSynchronize",
        "cudaDeviceSynchronize",
        "cudaEventSynchronize",
        "cudaMemcpy",
        "cuStreamSynchronize",
        "cuCtxSynchronize",
        "cuEventSynchronize",
    }
)
"""Calls with which a host waits for its device."""

_OPERATOR, _RANGE, _KERNEL = "cpu_op", "user_annotation", "kernel"
_DEVICE_WORK = frozenset({_KERNEL, "gpu_memcpy", "gpu_memset"})
_RUNTIME = frozenset({"cuda_runtime", "cuda_driver"})
_CPU = 0
"""The profiler's number for the host's memory."""


class Event(NamedTuple):
    """Something that takes time on a thread of the host or in a stream of the device."""

    name: str
    category: str
    lane: tuple[Any, Any]
    start: float
    seconds: float
    link: int | None
    """What ties a kernel to the operator that launched it."""

    @property
    def end(self) -> float:
        """When it is over, in seconds."""
        return self.start + self.seconds


class Change(NamedTuple):
    """Memory that was taken, or given back."""

    time: float
    bytes: int
    on_host: bool


@dataclass
class Trace:
    """The events of one run, in order of their start; times in seconds."""

    events: list[Event]
    memory: list[Change] = field(default_factory=list)

    def of(self, *categories: str) -> list[Event]:
        """The events of some categories."""
        return [event for event in self.events if event.category in categories]

    @cached_property
    def passes(self) -> list[Event]:
        """The ranges of forward, backward and update."""
        return [e._replace(name=e.name.removeprefix(PASS_PREFIX))
                for e in self.of(_RANGE) if e.name.startswith(PASS_PREFIX)]  # fmt: skip

    @cached_property
    def phases(self) -> list[Event]:
        """The ranges that methods and layers name."""
        return [e._replace(name=e.name.removeprefix(PREFIX)) for e in self.of(_RANGE)
                if e.name.startswith(PREFIX) and not e.name.startswith(PASS_PREFIX)]  # fmt: skip

    @cached_property
    def operators(self) -> list[Event]:
        """What torch's dispatcher called, inside of a pass."""
        return inside(self.of(_OPERATOR), self.passes)

    @cached_property
    def kernels(self) -> list[Event]:
        """What ran on a device, copies included."""
        return self.of(*_DEVICE_WORK)

    def launcher(self, kernel: Event) -> Event | None:
        """The operator inside of a pass that launched a kernel."""
        return self._by_link.get(kernel.link)

    @cached_property
    def _by_link(self) -> dict[int | None, Event]:
        return {operator.link: operator for operator in self.operators}

    @property
    def waits(self) -> list[Event]:
        """Where the host waited for its device, inside of a pass."""
        calls = (event for event in self.of(*_RUNTIME) if event.name in WAITING)
        return inside(calls, self.passes)


class Arguments(msgspec.Struct, frozen=True):
    """What a file of Chrome's format says besides of an event, as far as it is used."""

    link: Any = msgspec.field(default=None, name="External id")
    device_type: Any = msgspec.field(default=None, name="Device Type")
    bytes: Any = msgspec.field(default=0, name="Bytes")


class Entry(msgspec.Struct, frozen=True):
    """An event of such a file; times in microseconds."""

    name: Any = ""
    ph: str = ""
    cat: str = ""
    pid: Any = None
    tid: Any = None
    ts: float = 0
    dur: float = 0
    args: Arguments = Arguments()


class _File(msgspec.Struct, frozen=True):
    traceEvents: list[Entry]  # noqa: N815  # the format's own name


def read(content: bytes) -> Trace:
    """The trace in the bytes of a file of Chrome's format, as torch's profiler writes it."""
    # Power iteration has tens of thousands of events; into dictionaries this took twice as long.
    return parse(msgspec.json.decode(content, type=_File).traceEvents)


def parse(entries: Iterable[Entry]) -> Trace:
    """The trace of the entries of such a file."""
    events, memory = [], []
    for entry in entries:
        arguments = entry.args
        if entry.name == "[memory]":
            on_host = arguments.device_type == _CPU
            memory.append(Change(entry.ts * 1e-6, int(arguments.bytes), on_host))
        elif entry.ph == "X":
            lane = (entry.pid, entry.tid)
            start, seconds = entry.ts * 1e-6, entry.dur * 1e-6
            events.append(Event(entry.name, entry.cat, lane, start, seconds, arguments.link))
    # What starts together contains the shorter.
    events.sort(key=lambda event: (event.start, -event.seconds))
    memory.sort(key=lambda change: change.time)
    return Trace(events, memory)


def inside(events: Iterable[Event], ranges: Sequence[Event]) -> list[Event]:
    """The events that start within one of the ranges, on whatever thread."""
    return [event for event in events if enclosing(event, ranges) is not None]


def enclosing(event: Event, ranges: Sequence[Event]) -> Event | None:
    """The innermost of the ranges in which an event starts."""
    around = [each for each in ranges if each.start <= event.start < each.end]
    return min(around, key=lambda each: each.seconds, default=None)


def parents(events: Sequence[Event]) -> list[int | None]:
    """For each event the position of the one that contains it on the same thread.

    The events are in order of their start, and those of a thread are nested.
    """
    found: list[int | None] = []
    open_on: dict[Any, list[int]] = {}
    for position, event in enumerate(events):
        stack = open_on.setdefault(event.lane, [])
        while stack and events[stack[-1]].end <= event.start:
            stack.pop()
        found.append(stack[-1] if stack else None)
        stack.append(position)
    return found


def self_seconds(events: Sequence[Event]) -> list[float]:
    """Each event's time without that of the events inside of it."""
    left = [event.seconds for event in events]
    for event, parent in zip(events, parents(events), strict=True):
        if parent is not None:
            left[parent] -= event.seconds
    return [max(0.0, seconds) for seconds in left]


def peak_bytes(changes: Sequence[Change], *, on_host: bool) -> int:
    """The most memory in use above what was in use at the start."""
    used = most = 0
    for change in changes:
        if change.on_host == on_host:
            used += change.bytes
            most = max(most, used)
    return most


# The profiler's own library writes messages to the terminal, also where nothing is wrong; it asks
# for this before its first run.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

THE_MACHINES = ("host_name", "traceName")
"""What a file says of the machine where it was made, and of a temporary file there."""

TRACED_RUNS, TRACED_SECONDS = 3, 0.25
"""Fewer runs once they have taken so long: a pause of milliseconds is a small part of that."""
TRACED_STEPS = 3
"""So many runs are in a file to open: the first has the caches as the profiler leaves them."""


def record(contestant: Contestant, device: torch.device) -> Trace:
    """The trace of one run, with memory, without stacks, which would take time themselves.

    Of an odd number of runs the one that took the median time: in another the machine may have
    paused, and the pause would count as the phase that it happened in.
    """
    _run(contestant, device)
    runs: list[tuple[float, Callable[[], Trace]]] = []
    while len(runs) < TRACED_RUNS:
        runs.append(_record_once(contestant, device))
        if len(runs) % 2 and sum(seconds for seconds, _ in runs) > TRACED_SECONDS:
            break
    # Only this one is read, which for thousands of operators takes longer than the run.
    return sorted(runs, key=itemgetter(0))[len(runs) // 2][1]()


def _record_once(contestant: Contestant, device: torch.device) -> tuple[float, Callable[[], Trace]]:
    """The seconds that a run took under the profiler, and what reads its trace."""
    inputs = contestant.prepare()
    # Not `torch.profiler.profile` around it, which imports the compiler, for over a second.
    device_type = None if device.type == "cpu" else device.type
    with (
        one_cycle(use_device=device_type, profile_memory=True, use_kineto=True) as profiler,
        recording(),
    ):
        began = time.perf_counter()
        _passes(contestant, inputs)
        _wait(device)
        seconds = time.perf_counter() - began

    def content() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(path))
            return path.read_bytes()

    if device.type == "cpu":
        return seconds, lambda: read(content())
    # At once: the next run of the profiler overwrites what the driver has told this one.
    kept = content()
    return seconds, lambda: read(kept)


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
