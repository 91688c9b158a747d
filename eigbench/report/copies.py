"""Pictures are drawn by copies of this process, beside it, where there are cores for that.

Drawing takes half of the time of a report. A copy (a fork) has everything that it needs, and
matplotlib alone runs in it. Whatever becomes of it, the picture is drawn: where a copy ends with an
error, or does not end, or none can be made, this process draws.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LONGEST_SECONDS = 60.0
"""A copy that takes longer is given up; a picture takes less than one."""

MOST = 4
"""Copies at a time. A report has a dozen pictures, and each copy makes some memory its own."""


class Copies:
    """Does work in copies of this process, `most` at a time, and in this one what is more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: dict[int, Callable[[], None]] = {}

    def do(self, work: Callable[[], None]) -> None:
        """Do it now, or beside this process; what it writes is there after `finish`."""
        for number in list(self._running):
            self._collect(number, os.WNOHANG)
        if len(self._running) >= self._most or not self._start(work):
            work()

    def finish(self) -> None:
        """Return when all is done."""
        until = time.monotonic() + LONGEST_SECONDS
        while self._running and time.monotonic() < until:
            for number in list(self._running):
                self._collect(number, os.WNOHANG)
            time.sleep(0.002)
        for number in list(self._running):
            self.stop(number)
            self._collect(number, 0)

    def abandon(self) -> None:
        """End them; nothing of theirs is needed any more."""
        for number in self._running:
            self.stop(number)
            with suppress(ChildProcessError):
                os.waitpid(number, 0)
        self._running.clear()

    def stop(self, number: int) -> None:
        """End one of them at once."""
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)

    def _start(self, work: Callable[[], None]) -> bool:
        try:
            with warnings.catch_warnings():
                # Python warns of threads, which the copy does not have: it uses none.
                warnings.simplefilter("ignore", DeprecationWarning)
                number = os.fork()
        except OSError:  # too many processes, or too little memory
            return False
        if number:
            self._running[number] = work
            return True
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)  # nothing that is registered for the end of this process happens twice

    def _collect(self, number: int, how: int) -> None:
        """If this copy has ended: forget it, and do the work here if it did not succeed."""
        try:
            ended, status = os.waitpid(number, how)
        except ChildProcessError:  # somebody else has asked, and knows how it went
            ended, status = number, 1
        if ended:
            work = self._running.pop(number)
            if status != 0:
                work()


_copies: list[Copies] = []


@contextmanager
def beside() -> Iterator[None]:
    """Inside, what is given to `do` may be done by copies; it is done when this ends."""
    # A copy of a process of macOS may end at once, and Windows has none.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    copies = Copies(min(cores, MOST) if cores > 1 else 0)
    _copies.append(copies)
    try:
        yield
        copies.finish()
    finally:
        _copies.remove(copies)
        copies.abandon()


def do(work: Callable[[], None]) -> None:
    """Do it now, or in a copy inside of `beside`."""
    _copies[-1].do(work) if _copies else work()
