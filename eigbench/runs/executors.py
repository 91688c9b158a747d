"""Where the cases of a run are measured: in this process, in workers of its own, in a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from eigbench.kinds import KINDS, Case
from eigbench.runs import workers
from eigbench.runs.environment import physical_cores
from eigbench.runs.place import Job, Place, groups, here
from eigbench.runs.runner import Batch, Executor

if TYPE_CHECKING:
    from distributed import Client

    from eigbench.runs.workers import Coming


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a user gives a run to be measured with."""

    workers: int | None = None
    """Processes of this machine, or jobs of a batch system; None: what is worth it."""
    cluster: str | None = None
    """The address of a scheduler, or the name of a batch system."""
    threads: int | None = None
    """Of each process; None: one, and for trainings and times what there is."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every executor needs of a run."""

    place: Place
    job: Job
    check: Callable[[], None]
    """Called before what is measured at once; what it raises ends the run."""
    say: Callable[[str], None]

    def in_workers(
        self, client: Client, untimed: Sequence[Case], timed: Sequence[Case] = ()
    ) -> Generator[Batch]:
        """Measure in the workers of a client, what is timed at the end."""
        if not untimed and not timed:
            return
        session = self.place.session([*untimed, *timed][0])
        there = workers.Workers(client, self.job, session, self.check, self.say)
        yield from there.measured(groups(untimed))
        yield from there.measured(groups(timed), timed=True)


@contextmanager
def connected(means: Means) -> Iterator[Client | None]:
    """The cluster that a user named, if any; `InputError` if it does not answer."""
    if means.cluster is None:
        yield None
    else:
        with workers.cluster_workers(means.cluster, means.workers) as client:
            yield client


def executor(run: Run, means: Means, client: Client | None, soon: Coming | None = None) -> Executor:
    """The executor that a user asked for; `client` is what is `connected`, `soon` are `coming`."""
    if client is not None:
        return lambda missing: run.in_workers(client, *_by_time(missing))
    if means.workers is None:
        return partial(_as_worth_it, run, soon)
    if means.workers == 0:
        return partial(here, run.place, run.check)
    return partial(_in_local_workers, run, means.workers, soon)


def _in_local_workers(
    run: Run, count: int, soon: Coming | None, missing: Sequence[Case]
) -> Generator[Batch]:
    """What is timed is measured in this process, when the workers have gone."""
    untimed, timed = _by_time(missing)
    if untimed:
        own = workers.local_workers(count, run.job.threads, run.job.suite.device)
        with own if soon is None else soon.used() as client:
            yield from run.in_workers(client, untimed)
    yield from here(run.place, run.check, timed)


def _by_time(missing: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    timed = [case for case in missing if KINDS[case.kind].timed]
    return [case for case in missing if not KINDS[case.kind].timed], timed


CASES_WORTH_WORKERS = 500
"""Before so many of these, workers start with the command: they import torch while this process
does."""
SECONDS_BEFORE_WORKERS, SECONDS_WORTH_WORKERS = 2.0, 8.0
"""Later they take about 2 s (import of torch, 1.2 s; a fork and a connection, 0.4 s)."""


@contextmanager
def coming(plan: Sequence[Case], means: Means, device: str) -> Iterator[Coming | None]:
    """The workers that such a plan is going to have anyway; to be asked for before torch is.

    `device` is the suite's.
    """
    if means.workers is None:
        count = _cores(device)
        many = len([*takewhile(_is_small, plan)]) >= CASES_WORTH_WORKERS
        wanted = many and count > 1 and workers.is_installed()
    else:
        count = means.workers
        wanted = count > 0 and any(not KINDS[case.kind].timed for case in plan)
    if means.cluster is not None or not wanted:
        yield None
        return
    found = workers.Coming(count, means.threads, device)
    try:
        yield found
    finally:
        found.close()


def _cores(device: str) -> int:
    """How many workers are worth it."""
    return physical_cores() if device == "cpu" else 1


def _as_worth_it(run: Run, soon: Coming | None, missing: Sequence[Case]) -> Generator[Batch]:
    """In this process; where many cases about accuracy are left, in a worker for each core.

    Those of the first part of such cases in workers that are coming, if any are.
    What is timed, and trainings, which use all cores, are measured in this process.
    """
    count = _cores(run.job.suite.device)
    if count > 1 and not workers.is_installed():
        run.say("distributed is not installed: all cases are measured one after the other")
        count = 1
    for is_small, part in groupby(missing, key=lambda case: count > 1 and _is_small(case)):
        own = [*part]
        if is_small and soon is not None:
            with soon.used() as client:
                yield from run.in_workers(client, own)
            soon = None
            continue
        started, done = time.monotonic(), 0
        for batch in here(run.place, run.check, own):
            yield batch
            done += 1
            taken = time.monotonic() - started
            left = taken / done * (len(own) - done)
            if is_small and taken > SECONDS_BEFORE_WORKERS and left > SECONDS_WORTH_WORKERS:
                break
        if done < len(own):
            run.say(f"{len(own) - done} cases take more than {left:.0f} s: {count} workers start")
            yield from _in_local_workers(run, count, None, own[done:])


def part_of(plan: Sequence[Case], part: int, parts: int) -> list[Case]:
    """One of several parts of a plan, the first of which is 1; what goes together stays so."""
    return [case for group in groups(plan)[part - 1 :: parts] for case in group]


def _is_small(case: Case) -> bool:
    """Whether each core may have one of them."""
    kind = KINDS[case.kind]
    return not kind.timed and not kind.has_trials and memory(case) <= SMALL_MEMORY


SMALL_MEMORY = 2**30
MATRICES_KEPT = {"stability": 40, "invariance": 40, "path": 40, "singular": 80, "profile": 8}
"""How many float64 copies of its matrices a case takes, as was found at d = 1000."""


def memory(case: Case) -> int:
    """About how many bytes the matrices of a case take; 0 for what is about images."""
    if case.kind not in MATRICES_KEPT or getattr(case, "subject", "") in ("layer", "step"):
        return 0
    count = getattr(case, "seeds", getattr(case, "batch", 1))
    return int(8 * MATRICES_KEPT[case.kind] * count * getattr(case, "d", 0) ** 2)
