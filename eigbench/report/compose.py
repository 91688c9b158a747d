"""The report from top to bottom: verdict, tables, figures, the paper's claims, how to repeat it."""

from __future__ import annotations

from pathlib import Path

from eigbench.report import claims, failures, figures, series, tables
from eigbench.report.rows import Row, comparable, stability_rows
from eigbench.report.training.body import Body
from eigbench.report.verdict import verdict
from eigbench.runs.case import SeriesCase
from eigbench.runs.record import Record
from eigbench.runs.store import Run
from eigbench.runs.suite import cases


def compose(run: Run, folder: Path) -> tuple[str, str]:
    """The markdown of a run, and its verdict alone. Figures are written into `folder`."""
    rows = stability_rows(run.records)
    series_records = [r for r in run.records if isinstance(r.case, SeriesCase)]
    training = Body(run)
    sentences = [
        *training.verdict(), *verdict(rows, _iterations(run)), *series.verdict(series_records)
    ]  # fmt: skip
    sections = [
        f"# {run.suite.title or run.suite.name}",
        *training.opening(),
        *_partial(run),
        "## Verdict",
        "\n".join(f"- {sentence}" for sentence in sentences) or "Nothing was measured.",
        *training.sections(folder),
        *(_stability(run, rows, folder) if rows else []),
        *series.sections(series_records, folder),
        *failures.sections(run.records),
        *_environment(run),
        *_repeat(run),
    ]
    text = "\n\n".join(sections) + "\n"
    return text, "\n".join(_plain(sentence) for sentence in sentences)


def _stability(run: Run, rows: list[Row], folder: Path) -> list[str]:
    fair = comparable(rows, _iterations(run))
    return [
        *tables.how_to_read(run.suite),
        *figures.sections(rows, fair, folder),
        *tables.success(fair),
        *tables.accuracy(fair),
        *tables.other_axes(fair),
        *tables.iterations(rows),
        *claims.sections(rows, fair),
        *tables.reference(rows),
    ]


def _iterations(run: Run) -> int:
    """The suite's usual K: the first of its axis."""
    return (run.suite.axes.iterations or [19])[0]


def _partial(run: Run) -> list[str]:
    measured = {record.id for record in run.records}
    planned = [case.id for case in cases(run.suite)]
    missing = sum(case not in measured for case in planned)
    if not missing:
        return []
    return [
        f"> **Partial report.** {len(planned) - missing} of {len(planned)} cases are measured; "
        f"{missing} are missing, because the run was interrupted or is still going on. "
        "`--resume` measures them."
    ]


def _environment(run: Run) -> list[str]:
    lines = []
    for index, session in enumerate(run.environment.sessions):
        count = sum(record.session == index for record in run.records)
        versions = ", ".join(f"{name} {number}" for name, number in session.packages.items())
        lines.append(
            f"- {session.started_at}: {count} cases on {session.device}, {session.processor}, "
            f"{session.logical_cores} logical cores, {session.torch_threads} torch threads, "
            f"{session.system} ({session.machine}); Python {session.python}, "
            f"eigbench {session.eigbench}, {versions}; seed {session.seed}."
        )
    return ["## Where it was measured", "\n".join(lines)]


def _repeat(run: Run) -> list[str]:
    first = run.environment.sessions[0].command if run.environment.sessions else "eigbench"
    elapsed = sum(record.elapsed_seconds for record in run.records)
    slowest = _slowest(run.records)
    return [
        "## How to repeat it",
        f"```\n{first}\n```",
        f"{len(run.records)} cases took {elapsed:.0f} s of measuring{slowest}. "
        "`suite.toml` holds the whole suite as it ran; `records.jsonl` one line a case with every "
        "raw value; `eigbench report FOLDER` writes this report again from them.",
    ]


def _slowest(records: list[Record]) -> str:
    spent: dict[str, float] = {}
    for record in records:
        name = getattr(record.case, "method", "series")
        spent[name] = spent.get(name, 0) + record.elapsed_seconds
    total = sum(spent.values())
    if not total:
        return ""
    name = max(spent, key=lambda key: spent[key])
    return f", {100 * spent[name] / total:.0f} % of it in {name}"


def _plain(sentence: str) -> str:
    return sentence.replace("**", "").replace("`", "")
