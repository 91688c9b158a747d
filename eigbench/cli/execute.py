"""What `stability` and `run` do once they know the suite: measure, report, say where."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import typer

from eigbench.cli.options import resolve_folder
from eigbench.cli.progress import Observer, progress
from eigbench.errors import EXIT_INTERRUPTED
from eigbench.kinds.train import TrainCase
from eigbench.runs import store
from eigbench.runs.environment import describe
from eigbench.runs.record import Record
from eigbench.runs.runner import measurer, run
from eigbench.runs.suite import Suite, cases


def execute(
    suite: Suite, out: Path | None, *, resume: bool, quiet: bool, no_progress: bool
) -> None:
    """Measure what is missing of the suite, write the report and print its verdict."""
    folder = resolve_folder(out, suite, resume=resume)
    if not resume:
        store.require_free(folder)  # before the slow imports
    interrupted = _measure(suite, folder, resume=resume, shown=not (quiet or no_progress))
    _conclude(suite, folder, quiet=quiet)
    if interrupted:
        _say("eigbench: interrupted; what was measured is kept, and the report is partial.")
        _say(f"eigbench: repeat the command with --resume --out {folder} to go on.")
        raise typer.Exit(EXIT_INTERRUPTED)


def _measure(suite: Suite, folder: Path, *, resume: bool, shown: bool) -> bool:
    """Append the records that are missing; returns whether it was interrupted."""
    plan = cases(suite)
    observer = Observer()

    def watch(case: TrainCase, step: int, steps: int, loss: float) -> None:
        observer.step(case, step, steps, loss)  # of the progress that is shown by then

    def recorded(record: Record) -> None:
        checkpoints.discard(record.id)
        observer(record)

    checkpoints = store.Checkpoints(folder)
    measure = measurer(
        suite, plan, checkpoints=checkpoints, watch=watch, traces=store.Traces(folder)
    )
    session = describe(suite.device, suite.seed)
    with store.open_run(folder, suite, session, resume=resume) as writer:
        for case_id in writer.done:
            checkpoints.discard(case_id)  # of a case whose record was the last thing written
        if shown:
            _say(f"eigbench: {suite.title or suite.name} → {folder}")
        with progress(len(plan), len(writer.done), show=shown) as observer:
            try:
                run(plan, measure, writer, recorded)
            except KeyboardInterrupt:
                return True
    return False


def _conclude(suite: Suite, folder: Path, *, quiet: bool) -> None:
    """Write the report, and print its verdict and where it is."""
    from eigbench.report import write_report

    try:
        verdict = write_report(folder)
    except KeyboardInterrupt:
        _say(f"eigbench: interrupted; `eigbench report {folder}` writes the report.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if suite.bundle:
        store.bundle(folder)
    if not quiet:
        typer.echo(verdict)
        if (folder / store.TRACES).is_dir():
            typer.echo(f"tensorboard --logdir {shlex.quote(str(folder / store.TRACES))}")
    typer.echo(str(folder / store.REPORT))


def _say(line: str) -> None:
    typer.echo(line, file=sys.stderr)
