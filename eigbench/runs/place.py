"""One process that measures cases: how many threads it takes, and how it says what it is.

It is the process of the command, or a Dask worker, which is given a `Job` and calls `measure`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import msgspec

from eigbench.errors import InputError, RunStopped, expect_arbitrary_bases
from eigbench.kinds import KINDS, Case
from eigbench.kinds.base import MethodCase
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.train import Watch
from eigbench.runs.attachments import Checkpoints, trace_path
from eigbench.runs.environment import Session, describe, physical_cores
from eigbench.runs.runner import Batch, attempt, measurer
from eigbench.runs.store import SUITE
from eigbench.runs.suite import Suite, cases, load, programs


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that another process needs to measure cases of a run, besides the cases."""

    suite: Suite
    folder: Path
    """Of the run, absolute: trainings keep their checkpoints in it where a process sees it."""
    threads: int | None = None
    """Of every case; None: one, but as many as there are for a training or for what is timed."""
    command: str = ""
    plugins: dict[str, bytes] = field(default_factory=dict)
    """The programs of methods from the user's own files, by the names of the files."""
    directory: Path = field(default_factory=Path.cwd)
    """By which the suite's relative paths go."""
    id: str = field(default_factory=lambda: uuid4().hex)


class Place:
    """This process, ready to measure the cases of a job.

    `plan` are all cases of the suite; `watch` is called after each step of a training. A worker
    has a `name`, and takes all cores of its machine for what is timed.
    """

    def __init__(
        self,
        job: Job,
        plan: Sequence[Case],
        watch: Watch | None = None,
        checkpoints: Checkpoints | None = None,
        name: str = "",
    ) -> None:
        import torch  # late: takes seconds
        from threadpoolctl import ThreadpoolController

        expect_arbitrary_bases()
        self._job, self._name = job, name
        self._traces: dict[str, bytes] = {}
        self._sessions: dict[int, Session] = {}
        self._own_threads = torch.get_num_threads()
        self._measure = measurer(
            job.suite, plan, checkpoints=checkpoints, watch=watch, keep_trace=self._keep_trace
        )
        self._libraries = ThreadpoolController()  # of the libraries that are loaded by now

    def batch(self, chosen: Sequence[Case], seconds: float = 0.0) -> Batch:
        """Measure cases of one kind: the first, and those that follow until `seconds` are over.

        All of those that are timed together.
        """
        started = time.monotonic()
        timed = KINDS[chosen[0].kind].timed
        records = []
        with self._threads(chosen[0]) as session:
            for case in chosen:
                records.append(attempt(case, self._measure))
                if not timed and time.monotonic() - started >= seconds:
                    break
        traces, self._traces = self._traces, {}
        return Batch(session, records, traces)

    def session(self, case: Case) -> Session:
        """This process, with the threads by which it measures such a case."""
        with self._threads(case) as session:
            return session

    @contextmanager
    def _threads(self, case: Case) -> Iterator[Session]:
        """As many threads as such a case takes, of torch and of NumPy's BLAS."""
        from eigbench.measure.process import torch_threads

        count = self._count(case)
        with torch_threads(count), self._libraries.limit(limits=count):
            if count not in self._sessions:
                found = describe(self._job.suite.device, self._job.suite.seed)
                command = self._job.command or found.command
                self._sessions[count] = msgspec.structs.replace(
                    found, command=command, worker=self._name
                )
            yield self._sessions[count]

    def _count(self, case: Case) -> int:
        kind = KINDS[case.kind]
        if self._job.threads is not None:
            return self._job.threads
        if kind.timed and self._name:
            return physical_cores()
        # Threads on small matrices wait for each other, and results depend on their number.
        return self._own_threads if kind.timed or kind.has_trials else 1

    def _keep_trace(self, case: ProfileCase, content: bytes) -> str:
        path = trace_path(case)
        self._traces[path] = content
        return path


def here(place: Place, check: Callable[[], None], missing: Sequence[Case]) -> Generator[Batch]:
    """Measure in this process, one by one; `check` is called before what is measured at once."""
    for _, together in groupby(missing, key=lambda case: case.measured_with):
        check()
        for case in together:
            yield place.batch([case])


def groups(missing: Sequence[Case]) -> list[list[Case]]:
    """Cases that are best measured by the same process, one after the other, in order.

    Those of one workload, and those that ask different methods about the same matrices.
    """

    def shared(case: Case) -> Case:
        kind = KINDS[case.kind]
        if kind.timed or kind.has_trials or not isinstance(case, MethodCase):
            return case.measured_with
        return msgspec.structs.replace(case, method="", parameters={})

    return [list(group) for _, group in groupby(missing, key=shared)]


# What a Dask worker does

SECONDS_OF_A_BATCH = 5.0
"""After so long a worker hands its records over, and gives back the cases that it has not begun."""

_ready: dict[str, Place] = {}
"""The place of the latest job, by the job's id: images and matrices are read once."""


def measure(job: Job, chosen: Sequence[Case]) -> Batch:
    """Measure some of these cases in this Dask worker: all that are timed, else the first few."""
    if job.id not in _ready:
        _ready.clear()
        _ready[job.id] = _place_of(job)
    return _ready[job.id].batch(chosen, SECONDS_OF_A_BATCH)


def _place_of(job: Job) -> Place:
    from distributed import get_worker

    from eigbench.methods import plugins

    if job.directory.is_dir():
        os.chdir(job.directory)
    for name, program in job.plugins.items():
        folder = Path(tempfile.mkdtemp(dir=get_worker().local_directory))
        (folder / name).write_bytes(program)
        plugins.load(folder / name)
    if (own := programs(job.suite)) != job.suite.plugins:
        differing = {name for name, _ in own.items() ^ job.suite.plugins.items()}
        raise InputError(
            f"a worker has another program of {', '.join(sorted(differing))} than this process; "
            "install the same, or give it by --plugin"
        )
    return Place(job, cases(job.suite), _still_wanted, _shared(job), str(get_worker().name))


def _shared(job: Job) -> Checkpoints | None:
    """Where the run keeps its checkpoints, if this machine sees the same folder."""
    with contextlib.suppress(InputError):  # there is none, or one that is not even a suite
        if load(job.folder / SUITE) == job.suite:
            return Checkpoints(job.folder)
    return None


def _still_wanted(*_: object) -> None:
    """End a training whose run was interrupted, so that the worker is free again."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    if task is None or task.state == "cancelled":
        raise RunStopped("the run that wanted this trial has ended")
