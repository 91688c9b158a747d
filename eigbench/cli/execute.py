"""What `stability` and `run` do once they know the suite: measure, report, say where."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from eigbench.cli.options import resolve_folder
from eigbench.cli.progress import Observer, progress
from eigbench.errors import EXIT_INTERRUPTED
from eigbench.runs import store
from eigbench.runs.case import TrainCase
from eigbench.runs.record import Record
from eigbench.runs.structure import Suite
from eigbench.runs.suite import cases


def execute(
    suite: Suite, out: Path | None, *, resume: bool, quiet: bool, no_progress: bool
) -> None:
    """Measure what is missing of the suite, write the report and print its verdict."""
    folder = resolve_folder(out, suite, resume=resume)
    if not resume:
        store.require_free(folder)  # before the slow imports

    from eigbench.measure import measurer  # late: torch
    from eigbench.report import write_report
    from eigbench.runs.checkpoints import Checkpoints
    from eigbench.runs.environment import describe
    from eigbench.runs.runner import run

    todo = cases(suite)
    observer = Observer()

    def watch(case: TrainCase, step: int, steps: int, loss: float) -> None:
        observer.step(case, step, steps, loss)  # of the progress that is shown by then

    def recorded(record: Record) -> None:
        checkpoints.discard(record.id)
        observer(record)

    checkpoints = Checkpoints(folder)
    measure = measurer(suite, checkpoints, watch)
    interrupted = False
    session = describe(suite.device, suite.seed)
    with store.open_run(folder, suite, session, resume=resume) as writer:
        for case_id in writer.done:
            checkpoints.discard(case_id)  # of a case whose record was the last thing written
        shown = not (quiet or no_progress)
        if shown:
            _say(f"eigbench: {suite.title or suite.name} → {folder}")
        with progress(len(todo), len(writer.done), show=shown) as observer:
            try:
                run(todo, measure, writer, recorded)
            except KeyboardInterrupt:
                interrupted = True
    try:
        verdict = write_report(folder)
    except KeyboardInterrupt:
        _say(f"eigbench: interrupted; `eigbench report {folder}` writes the report.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not quiet:
        typer.echo(verdict)
    typer.echo(str(folder / store.REPORT))
    if interrupted:
        _say("eigbench: interrupted; what was measured is kept, and the report is partial.")
        _say(f"eigbench: repeat the command with --resume --out {folder} to go on.")
        raise typer.Exit(EXIT_INTERRUPTED)


def _say(line: str) -> None:
    typer.echo(line, file=sys.stderr)
