"""Pictures are drawn by copies of this process, beside it, where there are cores for that.

Drawing takes half of the time of a report. A copy (a fork) has everything that it needs, and
matplotlib alone runs in it. Whatever becomes of it, the picture is drawn: where a copy ends with an
error, or does not end, or none can be made, this process draws.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

LONGEST_SECONDS = 60.0
"""A copy that takes longer is given up; a picture takes less than one."""

MOST = 4
"""Copies at a time. A report has a dozen pictures, and each copy makes some memory its own."""


class Copies:
    """Does work in copies of this process, `most` at a time, and in this one what is more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: list[tuple[BaseProcess, Callable[[], None]]] = []

    def do(self, work: Callable[[], None]) -> None:
        """Do it now, or beside this process; what it writes is there after `finish`."""
        if sum(copy.is_alive() for copy, _ in self._made) < self._most:
            copy = get_context("fork").Process(target=_silently, args=(work,))
            # An error is of too many processes, or too little memory. Python warns of threads,
            # which the copy does not have: it uses none.
            with suppress(OSError), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                copy.start()
                self._made.append((copy, work))
                return
        work()

    def finish(self) -> None:
        """Return when all is done."""
        until = time.monotonic() + LONGEST_SECONDS
        for copy, work in self._made:
            copy.join(max(0.0, until - time.monotonic()))
            _end(copy)
            if copy.exitcode != 0:
                work()

    def abandon(self) -> None:
        """End them; nothing of theirs is needed any more."""
        for copy, _ in self._made:
            _end(copy)


def _silently(work: Callable[[], None]) -> None:
    """What a copy does. This process meets the same error, and says it, when it does the work."""
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)  # nothing that is registered for the end of this process happens twice


def _end(copy: BaseProcess) -> None:
    copy.kill()
    copy.join()


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
