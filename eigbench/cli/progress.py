"""Progress: a bar with time left on a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eigbench.runs.record import Record

SECONDS_BETWEEN_LINES = 5.0

Observer = Callable[["Record"], None]


@contextmanager
def progress(total: int, done: int, *, show: bool) -> Iterator[Observer]:
    """Gives the function to call with each record."""
    if not show:
        yield lambda _record: None
    elif sys.stderr.isatty():
        with _bar(total, done) as observe:
            yield observe
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
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=total, completed=done)

        def observe(record: Record) -> None:
            name = getattr(record.case, "method", record.case.__struct_config__.tag)
            bar.update(task, advance=1, description=str(name))

        yield observe


class PlainLines:
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
        now = self._clock()
        if now - self._last >= SECONDS_BETWEEN_LINES or self._done == self._total:
            self._last = now
            each = (now - self._started) / (self._done - self._first)
            left = each * (self._total - self._done)
            counts = ", ".join(f"{n} {status}" for status, n in sorted(self._statuses.items()))
            line = f"{self._done}/{self._total} cases, {counts}, about {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)  # noqa: T201
