"""Progress: a bar with time left on a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from eigbench.kinds.train import TrainCase
    from eigbench.runs.record import Record

SECONDS_BETWEEN_LINES = 5.0


class Observer:
    """Is told of each record, and of each step of a training. Shows nothing."""

    def __call__(self, record: Record) -> None:
        """One case is done."""

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        """A training has done so many of its steps."""


@contextmanager
def progress(total: int, done: int, *, show: bool) -> Iterator[Observer]:
    """Gives what to tell of each record and step."""
    if not show:
        yield Observer()
    elif sys.stderr.isatty():
        with _bar(total, done) as observer:
            yield observer
    else:
        yield PlainLines(total, done)


@contextmanager
def _bar(total: int, done: int) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeLeft(compact=True),
        TextColumn("left"),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    # A case of a training takes a minute: the speed is that of the last five.
    bar = Progress(
        *columns, console=console, transient=True, expand=True, speed_estimate_period=300
    )
    with bar:
        yield _Bar(bar, bar.add_task("starting", total=total, completed=done), done)


class _Bar(Observer):
    """A bar of cases, which also moves with the steps within one."""

    def __init__(self, bar: Progress, task: TaskID, done: int) -> None:
        self._bar, self._task, self._done = bar, task, done

    def __call__(self, record: Record) -> None:
        self._done += 1
        name = getattr(record.case, "method", record.case.__struct_config__.tag)
        self._bar.update(self._task, completed=self._done, description=str(name))

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        completed = self._done + step / (steps + 1)  # the test at the end is yet to come
        self._bar.update(self._task, completed=completed, description=_words(case, loss))


class PlainLines(Observer):
    """A line every few seconds, for logs."""

    def __init__(self, total: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._done, self._clock = total, done, clock
        self._first = done
        self._started = self._last = clock()
        self._statuses: Counter[str] = Counter()

    def __call__(self, record: Record) -> None:
        """Count one record, and say so if it is time to."""
        self._done += 1
        self._statuses[record.status] += 1
        if self._is_time() or self._done == self._total:
            self._say("")

    def step(self, case: TrainCase, step: int, steps: int, loss: float) -> None:
        """Say where the training is, if it is time to."""
        if self._is_time():
            self._say(f"; {_words(case, loss)}, step {step}/{steps}", within=step / (steps + 1))

    def _is_time(self) -> bool:
        return self._clock() - self._last >= SECONDS_BETWEEN_LINES

    def _say(self, more: str, within: float = 0.0) -> None:
        self._last = now = self._clock()
        each = (now - self._started) / (self._done + within - self._first)
        left = each * (self._total - self._done - within)
        counts = "".join(f", {n} {status}" for status, n in sorted(self._statuses.items()))
        line = f"{self._done}/{self._total} cases{counts}, about {left:.0f} s left{more}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _words(case: TrainCase, loss: float) -> str:
    """What is being trained, and how it goes."""
    names = {"d": case.d, "e": case.components, "energy": case.energy}
    size = "".join(f" {name}={value:g}" for name, value in names.items() if value is not None)
    return f"{case.method}{size}, trial {case.seed}: loss {loss:.3f}"
