"""The two ways a request can be declined: the user's input is wrong, or one case does not apply."""

from __future__ import annotations

import warnings
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


OF_REPORT = frozenset(
    (
        *("PIL", "distributed", "filelock", "jinja2", "markdown_it", "matplotlib", "mpmath"),
        *("msgspec", "polars", "psutil", "rich", "safetensors", "scipy", "tabulate"),
        *("threadpoolctl", "tomli_w", "torchvision", "typer"),
    )
)
"""What the extra `report` brings, by the names that are imported."""


class MissingExtra(ModuleNotFoundError):
    """A package of an extra is not installed. The message is one line that says how to get it."""


@contextmanager
def needing_report() -> Iterator[None]:
    """Inside, a package that only the extra `report` brings is a `MissingExtra` where it is not."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OF_REPORT:
            raise
        line = f"{package} is not installed: this needs pip install 'eigbench[report]'"
        raise MissingExtra(line, name=package) from error


LONGEST_MESSAGE = 300
"""Characters of what an exception says that are shown and recorded."""


def in_one_line(error: BaseException) -> str:
    """The type of an exception and the first line of what it says, cut where it becomes a page.

    Whatever an exception does when it is printed, this returns; Ctrl-C alone passes.
    """
    try:
        lines = [line for line in str(error).splitlines() if line.strip()] or ["no message"]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  # the message of somebody else's program
        lines = ["its message cannot be printed"]
    return printable(f"{type(error).__name__}: {lines[0]}", LONGEST_MESSAGE)


def printable(text: str, longest: int | None = None) -> str:
    r"""The text as one line that a terminal and a file show and do not obey, cut at `longest`.

    Any white space is one space. Control characters, and what UTF-8 cannot hold, appear as escapes
    such as `\x1b`.
    """
    line = " ".join(text.split())
    if longest is not None and len(line) > longest:
        line = f"{line[: longest - 1]}…"
    if line.isprintable():
        return line
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in line
    )


_LOOKALIKES = str.maketrans("<>|`[]$", "‹›¦'⟨⟩¤")


def harmless(text: str) -> str:
    """Words of somebody else, such as a processor's, that no table, page or picture obeys.

    What Markdown, HTML or mathematics would read as theirs is another sign that looks like it.
    """
    return printable(text).translate(_LOOKALIKES)


EXIT_INPUT = 2
"""Exit code after wrong input."""


def expect_arbitrary_bases() -> None:
    """Show no warnings of a loss that sees one in this process: what is measured says it."""
    warnings.filterwarnings("ignore", "gauge-projected:", RuntimeWarning)
