"""Dask workers that measure: on this machine, at a scheduler's address, or of a batch system.

Dask gives what a lost worker held to another one. Nothing is written but by this process.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from eigbench._version import __version__
from eigbench.errors import InputError, RunStopped, in_one_line
from eigbench.kinds import KINDS, Case
from eigbench.runs.environment import Session, physical_cores
from eigbench.runs.place import Job, measure
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.runner import Batch

if TYPE_CHECKING:
    from distributed import Client, Future

Say = Callable[[str], None]
"""Shows one line."""

BATCH_SYSTEMS = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
"""By the name that `--cluster` takes, the class of dask-jobqueue."""


def is_installed() -> bool:
    """Whether there is Dask here."""
    return importlib.util.find_spec("distributed") is not None


def _require_installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{package} is not installed: this needs pip install 'eigbench[{extra}]'")


@contextmanager
def local_workers(count: int, threads: int | None, device: str) -> Iterator[Client]:
    """Processes on this machine, one case at a time each; none is left when this ends.

    They come from one process that has imported torch, and are there as fast as a fork; one that
    dies is replaced. They ignore Ctrl-C, which a terminal sends them too: this process ends them.
    """
    with Coming(count, threads, device).used() as client:
        yield client


class Coming:
    """Local workers that start while this process does something else, as importing torch."""

    def __init__(self, count: int, threads: int | None, device: str) -> None:
        _require_installed("distributed", "report")
        _start_forkserver(_threads(count, threads))
        self._stack = ExitStack()
        self._thread = ThreadPoolExecutor(1)
        self._closed = False
        workers = _local_client(count, threads, device)
        self._client = self._thread.submit(self._stack.enter_context, workers)

    @contextmanager
    def used(self) -> Iterator[Client]:
        """Their client, as soon as it is connected; none of them is left when this ends."""
        try:
            yield self._client.result()
        finally:
            self.close()

    def close(self) -> None:
        """End them, if that was not done."""
        if not self._closed:
            self._closed = True
            # In the same thread, since Dask has variables of a thread's context.
            self._thread.submit(self._stack.close).result()
            self._thread.shutdown()


@contextmanager
def _local_client(count: int, threads: int | None, device: str) -> Iterator[Client]:
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    graphics = _graphics_cards(count, device)
    environment = _threads(count, threads)
    _silence()
    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set(
                {
                    "distributed.worker.multiprocessing-method": "forkserver",
                    "distributed.nanny.pre-spawn-environ": {},  # which is set in this process too
                }
            )
        )
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="eigbench-"))
        options = {
            "host": "127.0.0.1",
            "nthreads": 1,
            "memory_limit": None,
            "dashboard": False,
            "local_directory": scratch,
            "silence_logs": _SILENT,
        }
        workers = {
            number: {
                "cls": Nanny,
                "options": {**options, "name": f"local-{number}", "env": {**environment, **card}},
            }
            for number, card in enumerate(graphics)
        }
        scheduler = {
            "cls": Scheduler,
            # Any free ports: by default each second command of a machine warns that one is taken.
            "options": {
                "host": "127.0.0.1",
                "port": 0,
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
            },
        }
        cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=_SILENT)
        stack.callback(cluster.close)
        # So that closing it does not wait for the cases in flight.
        stack.callback(_kill, cluster)
        yield stack.enter_context(Client(cluster))


_SILENT = logging.CRITICAL + 1


def _silence() -> None:
    """Dask's own words on workers that come and go are not for who measures."""
    for name in ("distributed", "asyncio", "tornado"):
        logging.getLogger(name).setLevel(_SILENT)


def _graphics_cards(count: int, device: str) -> list[dict[str, str]]:
    """By worker, the variable that shows it one card of its own; on a CPU none."""
    if device == "cpu":
        return [{}] * count
    import torch

    if device != "cuda":
        raise InputError(f"--device: workers take one card each; give cuda instead of {device!r}")
    there = torch.cuda.device_count()
    if count > there:
        raise InputError(f"--workers: {count} workers, but {there} cards; one a worker")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(there)))
    return [{"CUDA_VISIBLE_DEVICES": card} for card in shown.split(",")[:count]]


def _threads(count: int, threads: int | None) -> dict[str, str]:
    """The variables by which each of so many workers has so many threads, or its share of them."""
    own = str(threads or max(1, physical_cores() // count))
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), own)


def _start_forkserver(environment: dict[str, str]) -> None:
    """Start the process that workers are forked from, unless it runs already."""
    # Late, as all that the command line starts without; by Dask it would take half a second.
    from multiprocessing import forkserver, get_context

    modules = ["distributed", "eigbench.measure.stability", "eigbench.runs.place"]
    get_context("forkserver").set_forkserver_preload(modules)
    before = {name: os.environ.get(name) for name in environment}
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _kill(cluster: Any) -> None:
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


SECONDS_TO_CONNECT = 10


@contextmanager
def cluster_workers(cluster: str, count: int | None) -> Iterator[Client]:
    """The workers of a scheduler, by its address; or `count` jobs of a batch system, by its name.

    `InputError` if there is no such scheduler.
    """
    _require_installed("distributed", "report")
    from distributed import Client

    _silence()
    with ExitStack() as stack:
        if cluster in BATCH_SYSTEMS:
            _require_installed("dask_jobqueue", "cluster")
            import dask_jobqueue

            try:
                jobs = getattr(dask_jobqueue, BATCH_SYSTEMS[cluster])()
            except (ValueError, TypeError, OSError) as error:
                raise InputError(f"--cluster {cluster}: {in_one_line(error)}") from error
            stack.callback(jobs.close)
            jobs.scale(count or 1)
            there: Any = jobs
        else:
            there = cluster
        try:
            client = Client(there, timeout=SECONDS_TO_CONNECT)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"--cluster: no scheduler answers at {cluster!r} ({in_one_line(error)})"
            ) from error
        yield stack.enter_context(client)


ALONE = "eigbench-alone"
"""The resource that one worker of each machine has, and that a timed case takes."""
SECONDS_BETWEEN_LOOKS = 0.5
_SCHEDULER_IS_GONE = "the scheduler is gone; repeat the command with --resume to go on"


class Workers:
    """The workers of a client, and the cases that they hold.

    `session` is this process, `check` raises when the run is to end, `say` shows one line.
    """

    def __init__(
        self, client: Client, job: Job, session: Session, check: Callable[[], None], say: Say
    ) -> None:
        self._client, self._job, self._session = client, job, session
        self._check, self._say = check, say
        self._flying: dict[Future, list[Case]] = {}
        self._alone: dict[str, str] = {}
        """By machine, the address of the worker that times cases."""
        self._known: set[str] | None = None
        self._looked_at = -math.inf

    def measured(
        self, groups: Iterable[Sequence[Case]], *, timed: bool = False
    ) -> Generator[Batch]:
        """Measure groups of cases, each in one worker; timed ones alone on a machine.

        `RunStopped` if the scheduler is lost, or a worker cannot measure at all.
        """
        waiting = deque(list(group) for group in groups)
        suspects: deque[list[Case]] = deque()
        tried: set[str] = set()

        def give() -> None:
            room = len(self._alone if timed else self._known or ())
            while (waiting or suspects) and len(self._flying) < room:
                # By itself, since what is with it on a worker that dies is suspected too.
                if self._flying and (suspects or tried & {g[0].id for g in self._flying.values()}):
                    return
                group = suspects.popleft() if suspects else _share(waiting, room)
                self._flying[self._submitted(group, timed=timed)] = group

        try:
            while waiting or suspects or self._flying:
                self._check()
                self._look()
                give()
                for future in self._finished():
                    group = self._flying.pop(future)
                    # A training is not begun again: the others would have to wait for it.
                    alone = _is_long(group[0]) or group[0].id in tried
                    batch, left = self._outcome(future, group, alone=alone)
                    if batch is None and _killed(future):
                        tried.update(one[0].id for one in left)
                        suspects.extendleft(reversed(left))
                    else:
                        waiting.extendleft(reversed(left))
                    give()  # before its records are written, so that the worker does not wait
                    if batch is not None:
                        yield batch
        finally:
            self._client.cancel([*self._flying], force=True)
            self._flying.clear()

    def _submitted(self, group: list[Case], *, timed: bool) -> Future:
        resources = {ALONE: 1} if timed else {}
        return self._client.submit(measure, self._job, group, pure=False, resources=resources)

    def _finished(self) -> list[Future]:
        from distributed import wait
        from distributed.client import FuturesCancelledError

        if not self._flying:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            wait([*self._flying], timeout=SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return []
        except FuturesCancelledError as error:
            raise RunStopped(_SCHEDULER_IS_GONE) from error
        return [future for future in self._flying if future.done()]

    def _outcome(
        self, future: Future, group: list[Case], *, alone: bool
    ) -> tuple[Batch | None, list[list[Case]]]:
        """What came back for a group of cases, and the groups that are still to be measured."""
        if future.cancelled():
            raise RunStopped(_SCHEDULER_IS_GONE)
        error = future.exception()
        if error is None:
            batch: Batch = future.result()
            if batch.session.eigbench != __version__:
                self._look(anew=True)
                return None, [group]
            rest = group[len(batch.records) :]
            return batch, [rest] if rest else []
        if _killed(future):
            if not alone:
                return None, [[case] for case in group]
            return _lost(group, self._session, error.allowed_failures + 1), []
        if isinstance(error, ImportError | AttributeError) and self._look(anew=True):
            return None, [group]  # a worker that had just joined does not have this program
        if isinstance(error, InputError):
            raise error
        raise RunStopped(f"a worker cannot measure: {in_one_line(error)}")

    def _look(self, *, anew: bool = False) -> bool:
        """Meet the workers that have joined; returns whether one was refused."""
        if not anew and time.monotonic() - self._looked_at < SECONDS_BETWEEN_LOOKS:
            return False
        there: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        self._looked_at = time.monotonic()
        if not anew and there.keys() == self._known:
            return False
        strangers = self._strangers(there)
        for address, reason in strangers.items():
            del there[address]
            if not there:
                raise InputError(reason)
            self._say(reason)
        if strangers:
            self._client.retire_workers([*strangers], close_workers=True)
        if not there:
            self._say("there is no worker; waiting for one")
        self._known = set(there)
        by_host = {worker["host"]: address for address, worker in there.items()}
        kept = {host: own for host, own in self._alone.items() if own in there}
        self._alone = {**by_host, **kept}
        self._client.run(_offer_resource, {*self._alone.values()}, on_error="ignore")
        return bool(strangers)

    def _strangers(self, there: Mapping[str, Any]) -> dict[str, str]:
        """By address of a worker that must not measure, the line that says why."""
        import pydoc  # of Python's own, so that any worker has it

        name = "eigbench._version.__version__"
        versions = self._client.run(pydoc.locate, name, workers=[*there], on_error="return")
        found = {}
        for address, version in versions.items():
            threads, reason = there[address]["nthreads"], ""
            if isinstance(version, Exception):
                continue  # it has gone
            if version != __version__:
                other = "none" if version is None else version
                reason = f"it imports eigbench {other}, and this is {__version__}"
            elif threads != 1:
                reason = f"it takes {threads} cases at once; start it with --nthreads 1"
            if reason:
                found[address] = f"worker {address} is refused: {reason}"
        return found


SHARES = 8
"""A worker is given this part of what would be its own, and in the end one group at a time."""


def _share(waiting: deque[list[Case]], workers: int) -> list[Case]:
    """The next group, and of what takes milliseconds so many more that a worker asks seldom."""
    count = len(waiting) // (SHARES * workers)
    share = waiting.popleft()
    while count > 1 and not _is_long(share[-1]) and not _is_long(waiting[0][0]):
        share = [*share, *waiting.popleft()]
        count -= 1
    return share


def _is_long(case: Case) -> bool:
    kind = KINDS[case.kind]
    return kind.timed or kind.has_trials


def _killed(future: Future) -> bool:
    """Whether the workers that had it have died."""
    from distributed import KilledWorker

    return isinstance(future.exception(), KilledWorker)


async def _offer_resource(chosen: set[str], dask_worker: Any) -> None:
    await dask_worker.set_resources(**{ALONE: int(dask_worker.address in chosen)})


def _lost(group: Sequence[Case], session: Session, times: int) -> Batch:
    """Records of cases whose workers died again and again."""
    reason = f"its worker process ended {times} times: killed, or out of memory"
    records = [
        Record(schema=SCHEMA, id=case.id, case=case, status="failed", reason=reason)
        for case in group
    ]
    return Batch(session, records)
