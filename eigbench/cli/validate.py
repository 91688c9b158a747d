"""`eigbench validate`: what a suite would run, and about how long it takes, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eigbench.axes import DEVICE, WORKERS
from eigbench.cli.options import RUNS, Plugin, RunOptions, Seeds, asked
from eigbench.cli.run import Data, Preset, SuiteName, resolved
from eigbench.cli.surroundings import interruption
from eigbench.runs.suite import cases

if TYPE_CHECKING:
    from eigbench.runs.estimate import Estimate


def validate(
    suite: SuiteName,
    preset: Preset = None,
    data: Data = None,
    seeds: Seeds = None,
    device: Annotated[str | None, asked(DEVICE)] = None,
    workers: Annotated[
        str | None, asked(WORKERS, help="Say how long it takes with N workers too.")
    ] = None,
    records: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where earlier runs lie, whose times are used.")
    ] = RUNS,
    _plugin: Plugin = None,
) -> None:
    """Check a suite, and say how many cases it has and about how long they take.

    The times come from earlier runs on this machine; of cases that none has, a sample is measured
    for about 20 seconds.
    """
    count = int(WORKERS.read(workers)) if workers is not None else 0
    loaded = RunOptions(device=device).applied(resolved(suite, preset, data), seeds)
    plan = cases(loaded)
    typer.echo(f"{loaded.title or loaded.name}: {len(plan)} cases")
    from eigbench.runs.environment import describe  # late, as what it imports
    from eigbench.runs.estimate import SECONDS_OF_A_SAMPLE, estimate, recorded_seconds, together

    interruption.limit(None)
    like = describe(loaded.device, loaded.seed)
    folders = sorted(records.iterdir()) if records.is_dir() else []
    known = recorded_seconds(folders, like)
    found = estimate(loaded, plan, known, SECONDS_OF_A_SAMPLE, interruption.check)
    for one in found:
        typer.echo(f"  {one.kind}: {one.cases} cases, {_time(one)}; {_source(one)}")
    typer.echo(f"in one process {_time(together(found, 1))}, and the report")
    if count > 1:
        typer.echo(
            f"with {count} workers {_time(together(found, count))}, if each has a core of its own; "
            "what is timed runs alone"
        )


def _time(of: Estimate) -> str:
    """Such as "about 3 minutes (2 to 4)"; what is not known is said to be missing."""
    if of.unknown == of.cases:
        return "nothing is known of how long"
    low, high = of.span
    seconds, name = next(u for u in UNITS if of.seconds >= 2 * u[0] or u[0] == 1)
    numbers = [_number(value / seconds) for value in (of.seconds, low, high)]
    span = f" ({numbers[1]} to {numbers[2]})" if numbers[1] != numbers[2] else ""
    missing = f", and {of.unknown} cases of which nothing is known" if of.unknown else ""
    return f"about {numbers[0]} {name}{span}{missing}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def _source(of: Estimate) -> str:
    """What an estimate is based on."""
    sources = {
        "from earlier runs on such a machine": of.recorded,
        "from a sample measured now": of.cases - of.recorded - of.unknown,
    }
    words = [f"{count} {name}" for name, count in sources.items() if count]
    if of.sampled:
        words.append(f"{of.sampled} cases were measured")
    return ", ".join(words) or "no sample was reached"
