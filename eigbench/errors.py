"""The two ways a request can be declined: the user's input is wrong, or one case does not apply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """The user's input is wrong. The message is one line: what, where, and what would be right."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Inside, an `InputError` says where: its message follows `place` and a colon."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


class RunStopped(InputError):
    """The run cannot go on, through no fault of its case in flight: nothing is recorded of it."""


class NotApplicable(Exception):
    """A case that this method, spectrum or loss cannot take: a skipped row, with this reason."""


EXIT_INPUT = 2
"""Exit code after wrong input."""

EXIT_INTERRUPTED = 130
"""Exit code after an interruption, 128 + SIGINT."""
