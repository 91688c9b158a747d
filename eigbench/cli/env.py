"""`eigbench env` and `eigbench methods`: what there is, and how far times can be trusted here."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from eigbench.axes import DEVICE
from eigbench.cli import options
from eigbench.errors import InputError, in_one_line, printable

if TYPE_CHECKING:
    from eigbench.measure.noise import Noise
    from eigbench.runs.environment import Session


def env(
    device: Annotated[str, typer.Option(metavar=DEVICE.metavar, help=DEVICE.help)] = "auto",
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure how far times can be trusted, as a table.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, max=3600, help="How long --noise measures.")
    ] = 60.0,
) -> None:
    """Print hardware, versions and threads as JSON, as a run records them.

    With --noise a table, and which differences between times can be told apart on this machine.
    """
    chosen = options.resolve_device(device)
    import msgspec  # late, like torch in describe

    from eigbench.runs.environment import describe

    session = describe(chosen, seed=0)
    if not noise:
        typer.echo(msgspec.json.format(msgspec.json.encode(session), indent=2).decode())
        return
    options.say(f"measuring for {seconds:.0f} s; leave the machine as it is when you measure")
    from eigbench.measure.noise import measure

    found = measure(seconds)
    _print({**_environment(session), **_disturbances(found)})
    typer.echo(_sentence(found))


def _environment(session: Session) -> dict[str, str]:
    packages = ", ".join(f"{name} {version}" for name, version in session.packages.items())
    return {
        "eigbench": session.eigbench,
        "Python": session.python,
        "packages": packages,
        "system": f"{session.system}, {session.machine}",
        "processor": f"{session.processor}, {session.logical_cores} logical cores",
        "threads of torch": str(session.torch_threads),
        "device": session.device,
    }


def _disturbances(found: Noise) -> dict[str, str]:
    import statistics

    from eigbench.report.numbers import rounded_share  # late: SciPy

    milliseconds = 1e3 * statistics.median(found.alone)
    slower, paused = rounded_share(found.spread), rounded_share(found.pauses)
    stolen = "not known" if found.stolen is None else rounded_share(found.stolen)
    return {
        "a small eigh, one thread": f"{milliseconds:.3g} ms, the median of {len(found.alone)} "
        f"calls; one in twenty takes {slower} longer or more; {paused} are interrupted for longer "
        "than they take",
        "beside a second thread": f"{found.contention:.3g} times as long; 1 if each thread has a "
        "core of its own",
        "stolen by other machines": f"{stolen} of the time of the cores",
        "taken by other programs": f"{found.interruptions / found.seconds:.3g} times a second; "
        f"{found.waiting:.1f} programs run or wait, for {found.cores} cores",
    }


def _sentence(found: Noise) -> str:
    from eigbench.measure.noise import ROUNDS
    from eigbench.report.numbers import rounded_share
    from eigbench.report.stats import resolution

    count = len(found.ratios)
    few = "none" if count < 20 else f"{count // 20}"
    return (
        f"Differences below {rounded_share(resolution(found.ratios))} cannot be told apart on this "
        f"machine as it is now: of {count} comparisons of the same calls, medians of {ROUNDS} "
        f"rounds each, {few} came out further apart."
    )


def _print(rows: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False).print(table)


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
