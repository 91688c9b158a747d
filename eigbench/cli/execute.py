"""What a command does once it knows the suite: measure, show progress, report, say where."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from eigbench.cli.options import RunOptions, say
from eigbench.cli.surroundings import interruption
from eigbench.errors import InputError, printable
from eigbench.kinds import KINDS, Case
from eigbench.kinds.train import TrainCase
from eigbench.runs import attachments, store
from eigbench.runs.environment import share_of_others, used
from eigbench.runs.executors import (
    SMALL_MEMORY,
    Run,
    coming,
    connected,
    executor,
    memory,
    part_of,
)
from eigbench.runs.place import Job, Place
from eigbench.runs.record import Record
from eigbench.runs.runner import run
from eigbench.runs.suite import Suite, cases, programs

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from eigbench.runs.workers import Coming


def execute(suite: Suite, options: RunOptions) -> None:
    """Measure what is missing of the suite, write the report and print its verdict."""
    minutes = options.minutes()
    interruption.limit(minutes)
    suite = msgspec.structs.replace(suite, plugins=programs(suite))
    folder = options.folder(suite)
    if not options.resume:
        # Before the slow imports.
        store.require_free(folder, "add --resume, or choose another --out")
    again = f"repeat the command with --resume --out {shlex.quote(str(folder))} to go on"
    try:
        missing = _measure(suite, folder, options)
        conclude(folder, quiet=options.quiet)
    except OSError as error:  # a full disk, above all
        reason = f"{error.filename or folder}: {error.strerror or error}"
        raise InputError(f"{reason}; what was measured is kept: {again}") from error
    if missing is not None:
        if interruption.is_time_over:
            say(f"{minutes:g} minutes are over; {missing} cases are missing: the report is partial")
            say(f"{again}.")
            return
        terminated = interruption.number == signal.SIGTERM
        what = "ended by SIGTERM" if terminated else "interrupted"
        say(f"{what}; what was measured is kept, and the report is partial.")
        say(f"{again}.")
        raise typer.Exit(interruption.exit_code)


def _measure(suite: Suite, folder: Path, options: RunOptions) -> int | None:
    """Append the records that are missing; returns how many still are if it was interrupted."""
    part, parts = options.part_of_all()
    means = options.means()
    # Of a run that goes on few may be missing. Without the parameters of methods, which takes an
    # import of torch, the plan has nearly as many cases.
    anew = [] if options.resume else part_of(cases(suite, lambda _: ()), part, parts)
    with coming(anew, means, suite.device) as soon:
        every = cases(suite)
        return _measure_plan(suite, folder, options, every, part_of(every, part, parts), soon)


def _measure_plan(
    suite: Suite,
    folder: Path,
    options: RunOptions,
    every: Sequence[Case],
    plan: Sequence[Case],
    soon: Coming | None,
) -> int | None:
    means = options.means()
    job = Job(
        suite=suite,
        folder=folder.absolute(),
        threads=means.threads,
        command=shlex.join(["eigbench", *sys.argv[1:]]),
        plugins={path.name: path.read_bytes() for path in options.plugin or []},
    )
    observer = Observer()

    def watch(case: TrainCase, step: int, steps: int, loss: float) -> None:
        interruption.check()
        observer.step(case, step, steps, loss)  # of the progress that is shown by then

    def recorded(record: Record) -> None:
        checkpoints.discard(record.id)
        observer(record)

    checkpoints = attachments.Checkpoints(folder)
    before = used()
    shown = not (options.quiet or options.no_progress)
    with (
        connected(means) as client,
        # Imports torch, meanwhile.
        nullcontext(Place(job, every, watch, checkpoints)) as place,
        store.open_run(folder, suite, place.session(plan[0]), resume=options.resume) as writer,
    ):
        for case_id in writer.done:
            checkpoints.discard(case_id)  # of a case whose record was the last thing written
        if shown:
            say(f"{suite.title or suite.name} → {folder}")
            _announce_memory(plan)
        told = say if shown else lambda _: None
        this = Run(place=place, job=job, check=interruption.check, say=told)
        left = None
        missing = [case for case in plan if case.id not in writer.done]
        timed = sum(KINDS[case.kind].timed for case in missing)
        with progress(len(plan), len(plan) - len(missing), timed, show=shown) as observer:
            try:
                run(plan, executor(this, means, client, soon), writer, recorded)
            except KeyboardInterrupt:
                left = sum(case.id not in writer.done for case in plan)
        # Not after an error, which may be that nothing can be written there.
        writer.finish(share_of_others(before, used()))
    return 0 if left is None and interruption.number is not None else left


def _announce_memory(plan: Sequence[Case]) -> None:
    needed = {memory(case): case for case in plan}
    if (most := max(needed)) > SMALL_MEMORY:
        say(
            f"the largest of {len(plan)} cases, {described(needed[most])}, takes about "
            f"{most / 2**30:.0f} GB of memory; Ctrl-C ends the run and keeps its records"
        )


def described(case: Case) -> str:
    """Such as "stability of 8 matrices 2000 × 2000"."""
    d, count = getattr(case, "d", 0), getattr(case, "seeds", getattr(case, "batch", 1))
    return f"{case.__struct_config__.tag} of {count} matrices {d} × {d}"


def conclude(folder: Path, *, quiet: bool) -> None:
    """Write the report, and print its verdict and where it and the traces are."""
    from eigbench.report import write_report  # late: matplotlib

    try:
        verdict = write_report(folder)
    except KeyboardInterrupt:
        say(f"interrupted; `eigbench report {shlex.quote(str(folder))}` writes the report.")
        raise typer.Exit(interruption.exit_code) from None
    if not quiet:
        typer.echo("\n".join(map(printable, verdict.splitlines())))
        if (folder / attachments.TRACES).is_dir():
            typer.echo(f"traces, for https://ui.perfetto.dev: {folder / attachments.TRACES}")
        page = (folder / store.REPORT).with_suffix(".html")
        typer.echo(f"the whole report in one file, for a browser or to send: {page}")
    typer.echo(str(folder / store.REPORT))


SECONDS_BETWEEN_LINES = 5.0


class Observer:
    """Receives each record, and each step of a training. Shows nothing."""

    def __call__(self, record: Record) -> None:
        """One case is done."""

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        """One step of a training is done."""


@contextmanager
def progress(total: int, done: int, timed: int, *, show: bool) -> Iterator[Observer]:
    """A bar on a terminal, plain lines where there is none, or nothing.

    Of the `total` cases some are `done`, and `timed` of the rest take the time that is set for
    them.
    """
    if not show:
        yield Observer()
        return
    if not sys.stderr.isatty():
        yield PlainLines(total, done, timed)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    bar = Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeLeft(compact=True),
        TextColumn("left {task.description}"),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        speed_estimate_period=300,  # a case of a training takes a minute
    )
    with bar:
        yield _Bars(bar, total, done, timed)


class _Bars(Observer):
    """A bar of cases, which also moves with the steps within one; of timed ones one of their own.

    Timed cases come last and take another time each: one bar's time left would be 0 before them.
    """

    def __init__(self, bar: Progress, total: int, done: int, timed: int) -> None:
        both = 0 < timed < total - done
        others = total - timed if both else total
        first = bar.add_task("starting", total=others, completed=done)
        last = bar.add_task("timed, later", total=timed, start=False) if both else first
        self._bar, self._first, self._last = bar, first, last
        self._done: Counter[TaskID] = Counter({first: done})

    def __call__(self, record: Record) -> None:
        task = self._last if KINDS[record.case.kind].timed else self._first
        self._done[task] += 1
        name = getattr(record.case, "method", record.case.__struct_config__.tag)
        self._bar.update(task, completed=self._done[task], description=str(name))
        if self._bar.tasks[0].finished:
            self._bar.start_task(self._last)  # which does no more once it has started

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        completed = self._done[self._first] + step / (steps + 1)  # the test is yet to come
        self._bar.update(self._first, completed=completed, description=_words(case, loss))


class PlainLines(Observer):
    """A line every few seconds, for logs."""

    def __init__(
        self, total: int, done: int, timed: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._done, self._timed, self._clock = total, done, timed, clock
        self._last = clock()
        self._first: tuple[float, float] | None = None
        """When the first sign of progress came, and how far that was: before it, workers start."""
        self._statuses: Counter[str] = Counter()

    def __call__(self, record: Record) -> None:
        """Count one record, and say so if it is time to."""
        self._done += 1
        self._statuses[record.status] += 1
        self._begin(self._done)
        is_timed = KINDS[record.case.kind].timed
        self._timed -= is_timed
        if not is_timed and self._total - self._done == self._timed:
            self._first = None  # those that are left come last, and take another time each
        if self._is_time() or self._done == self._total:
            self._say("")

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        """Say where the training is, if it is time to."""
        within = step / (steps + 1)
        self._begin(self._done + within)
        if self._is_time():
            self._say(f"; {_words(case, loss)}, step {step}/{steps}", within)

    def _begin(self, done: float) -> None:
        if self._first is None:
            self._first = self._clock(), done

    def _is_time(self) -> bool:
        return self._clock() - self._last >= SECONDS_BETWEEN_LINES

    def _say(self, more: str, within: float = 0.0) -> None:
        self._last = self._clock()
        counts = "".join(f", {n} {status}" for status, n in sorted(self._statuses.items()))
        line = f"{self._done}/{self._total} cases{counts}{self._left(self._done + within)}{more}"
        typer.echo(line, err=True)

    def _left(self, done: float) -> str:
        started, first = self._first or (self._last, done)
        if not first < done < self._total:
            return ""
        each, left = (self._last - started) / (done - first), self._total - done
        others = self._timed if left > self._timed else 0
        before = f" before {others} timed ones" if others else ""
        return f", about {each * (left - others):.0f} s left{before}"


def _words(case: TrainCase, loss: float) -> str:
    """What is being trained, and how it goes."""
    names = {"d": case.d, "e": case.components, "energy": case.energy}
    size = "".join(f" {name}={value:g}" for name, value in names.items() if value is not None)
    return f"{case.method}{size}, trial {case.seed}: loss {loss:.3f}"
