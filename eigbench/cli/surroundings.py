"""What surrounds a command: signals that end it, and streams that are closed, full or not UTF-8.

Imported before anything slow, so that Ctrl-C is one thing from the first moment on.
"""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, TextIO


class Interruption:
    """Ctrl-C, the SIGTERM that a batch system sends, and a limit of time: they mean the same here.

    A signal raises `KeyboardInterrupt` where it arrives, and is remembered: Python drops what is
    raised in some callbacks, and some libraries turn it into errors of their own.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal that has arrived."""
        self._ends_at = math.inf

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it."""
        return 128 + (self.number or signal.SIGINT)

    def receive(self) -> None:
        """Take the signals that would end this process; one that is ignored stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                signal.signal(number, self._arrived)

    def limit(self, minutes: float | None) -> None:
        """Interrupt this process, where it checks, after so many minutes from now; None: never."""
        self._ends_at = math.inf if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_time_over(self) -> bool:
        """Whether the limit is reached, and no signal has arrived."""
        return self.number is None and time.monotonic() >= self._ends_at

    def check(self) -> None:
        """Raise if the time is over, or a signal has arrived that did not stop what was running."""
        if self.number is not None or self.is_time_over:
            raise KeyboardInterrupt

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt


interruption = Interruption()


class _Lossy(io.RawIOBase):
    """A stream that drops what nobody can read any more.

    A pipe whose reader has gone is no error, as of `| head`. Of a stream that is full, `report`
    says whether its first write raises: what a command prints must not be lost in silence, but no
    measurement ends because its progress cannot be shown.
    """

    def __init__(self, raw: Any, *, report: bool) -> None:
        self._raw, self._report = raw, report

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def write(self, content: Any) -> int:
        try:
            written: int = self._raw.write(content)
        except OSError as error:
            if self._report and not isinstance(error, BrokenPipeError):
                self._report = False
                raise OSError(error.errno, error.strerror, "standard output") from error
            return len(content)
        return written


def prepare_streams() -> None:
    """Make standard output and error such that writing to them raises nothing unforeseen."""
    # A closed one would be the number of the next file that is opened, and take its place.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    sys.stdout = _made(sys.stdout, report=True)
    sys.stderr = _made(sys.stderr, report=False)


def _made(stream: TextIO | None, *, report: bool) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    buffer: Any = stream.buffer
    lossy = io.BufferedWriter(_Lossy(getattr(buffer, "raw", buffer), report=report))
    return io.TextIOWrapper(
        lossy,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty() or not report,
    )
