"""`eigbench methods`: what there is."""

from __future__ import annotations

from dataclasses import fields

from eigbench.cli import options
from eigbench.errors import InputError, in_one_line, printable

LONGEST_NAME = 24
LONGEST_CELL = 500


def methods(_plugin: options.Plugin = None) -> None:
    """List the methods with their parameters and sources."""
    from rich.console import Console  # late, like torch below
    from rich.table import Column, Table
    from rich.text import Text

    from eigbench.methods.registry import available

    titles = ("What it does", "Parameters", "Source")
    # A name is typed: it stays on one line in a narrow terminal too.
    longest = max(map(len, available()))
    name_column = Column("Method", min_width=min(longest, LONGEST_NAME), overflow="fold")
    table = Table(name_column, *(Column(title, overflow="fold") for title in titles))
    for name in available():
        cells = (printable(text, LONGEST_CELL) for text in (name, *_described(name)))
        table.add_row(*map(Text, cells))
    Console().print(table)


def _described(name: str) -> tuple[str, str, str]:
    """What a method does, its parameters and its source."""
    from eigbench.methods.registry import get

    try:
        method = get(name)
        defaults = ", ".join(f"{field.name}={field.default!r}" for field in fields(method))
        summary, source = (str(getattr(method, text, "–")) for text in ("summary", "source"))
    except InputError as error:
        return str(error), "–", "–"
    except Exception as error:  # noqa: BLE001  # a broken program must not hide the other methods
        return in_one_line(error), "–", "–"
    return summary, defaults or "–", source
