"""`eigbench methods`: what there is to choose from."""

from __future__ import annotations

from dataclasses import fields


def methods() -> None:
    """List the methods with their parameters and sources."""
    from rich.console import Console  # late, like torch below
    from rich.table import Column, Table

    from eigbench.methods.registry import available, get

    titles = ("Method", "What it does", "Parameters", "Source")
    table = Table(*(Column(title, overflow="fold") for title in titles))
    for name in available():
        method = get(name)
        defaults = ", ".join(f"{field.name}={field.default!r}" for field in fields(method))
        table.add_row(name, method.summary, defaults or "–", method.source)
    Console().print(table)
