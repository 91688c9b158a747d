"""`eigbench methods`: what there is to choose from."""

from __future__ import annotations

from dataclasses import fields

from eigbench.cli.plugins import Plugin
from eigbench.errors import InputError

LONGEST_NAME = 24


def methods(_plugin: Plugin = None) -> None:
    """List the methods with their parameters and sources."""
    from rich.console import Console  # late, like torch below
    from rich.table import Column, Table

    from eigbench.methods.registry import available, get

    titles = ("What it does", "Parameters", "Source")
    # A name is typed: it stays on one line in a narrow terminal too.
    longest = max(map(len, available()))
    name_column = Column("Method", min_width=min(longest, LONGEST_NAME), overflow="fold")
    table = Table(name_column, *(Column(title, overflow="fold") for title in titles))
    for name in available():
        try:
            method = get(name)
        except InputError as error:  # a broken package must not hide the other methods
            table.add_row(name, str(error), "–", "–")
            continue
        defaults = ", ".join(f"{field.name}={field.default!r}" for field in fields(method))
        summary, source = (getattr(method, text, "–") for text in ("summary", "source"))
        table.add_row(name, summary, defaults or "–", source)
    Console().print(table)
