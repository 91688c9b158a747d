"""`eigbench check`: what a method promises, and which of it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eigbench.cli.options import Plugin

if TYPE_CHECKING:
    from eigbench.contract import Finding

EXIT_VIOLATED = 1
STYLES = {"held": "green", "violated": "bold red", "not applicable": "dim"}


def check(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method, built in or yours.")],
    _plugin: Plugin = None,
) -> None:
    """Check a method against the contract of all methods, and its own promises.

    Exit code 1 if it violates one of them.
    """
    from eigbench.methods.registry import get  # late, as torch below

    chosen = get(method)
    from eigbench.contract import findings

    found = list(findings(method, chosen))
    _show(found)
    typer.echo(verdict(method, found))
    if any(finding.state == "violated" for finding in found):
        raise typer.Exit(EXIT_VIOLATED)


def _show(found: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("Check", no_wrap=True), Column("Outcome"), Column("Promise and finding"))
    for finding in found:
        detail = Text(finding.claim)
        detail.append(f"\n{evidence(finding)}".rstrip(), STYLES[finding.state])
        table.add_row(finding.check, Text(finding.state, STYLES[finding.state]), detail)
    Console().print(table)


def evidence(finding: Finding) -> str:
    """What was found and where, or why nothing was; of a fact that holds, nothing."""
    worst = finding.worst
    if worst is None:
        return finding.reason
    if worst.holds and not worst.is_number:
        return ""
    count = finding.violations - 1
    others = f" (and {count} other{'s' if count > 1 else ''})" if count > 0 else ""
    return f"{worst.what} {worst.found}, allowed {worst.allowed}; {worst.place}{others}"


def verdict(method: str, found: Sequence[Finding]) -> str:
    """One line: how much of what applies holds."""
    applied = [finding for finding in found if finding.state != "not applicable"]
    violated = [finding.check for finding in applied if finding.state == "violated"]
    if violated:
        return f"{method} violates {len(violated)} of {len(applied)} checks: {', '.join(violated)}"
    rest = len(found) - len(applied)
    return f"{method} holds all {len(applied)} checks that apply; {rest} do not apply"
