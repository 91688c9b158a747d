"""The report from top to bottom: verdict, tables, figures, the paper's claims, how to repeat it."""

from __future__ import annotations

from pathlib import Path

from eigbench.report import claims, failures, figures, series, tables
from eigbench.report.chapters import training as trainings
from eigbench.report.field.body import Body as FieldBody
from eigbench.report.frame import Frames
from eigbench.report.profile.body import Body as ProfileBody
from eigbench.report.rows import Row, comparable, comparable_by_loss, stability_rows
from eigbench.report.verdict import verdict
from eigbench.runs.case import ProfileCase, SeriesCase
from eigbench.runs.record import Record
from eigbench.runs.store import Run
from eigbench.runs.suite import cases

TITLES = {
    "train": "Trainings",
    "stability": "Stability and accuracy",
    "profile": "Time, memory and work",
}
"""Of the parts of a report that has several kinds of cases."""


def compose(run: Run, folder: Path) -> tuple[str, str]:
    """The markdown of a run, and its verdict alone. Figures are written into `folder`."""
    rows = stability_rows(run.records)
    field = FieldBody(run)
    series_records = [r for r in run.records if isinstance(r.case, SeriesCase)]
    profile = ProfileBody(run)
    training = trainings.part(Frames(run, folder))
    stability = [
        *field.verdict(),
        *verdict(rows, field.measured.iterations),
        *series.verdict(series_records),
    ]
    sentences = _own_kind_first(
        run,
        train=[*training.summary] if training else [],
        stability=stability,
        profile=profile.verdict(),
    )
    parts = _own_kind_first(
        run,
        train=[training.head, *(one.text for one in training.chapters)] if training else [],
        stability=[
            *field.opening(),
            *(_stability(run, rows, field.measured.iterations, folder) if rows else []),
            *field.sections(folder),
            *series.sections(series_records, folder),
        ],
        profile=profile.sections(folder),
    )
    sections = [
        f"# {run.suite.title or run.suite.name}",
        *(training.banner if training else []),
        *profile.opening(),
        *_partial(run),
        *_packed(run),
        *_set(run),
        "## Verdict",
        *_titled({title: [_listed(own)] for title, own in sentences.items()}, "**{}**"),
        *([] if sentences else ["Nothing was measured."]),
        *_titled(parts, "# {}"),
        *failures.sections(run.records),
        *_environment(run),
        *_repeat(run),
    ]
    text = "\n\n".join(sections) + "\n"
    return text, "\n".join(_plain(one) for own in sentences.values() for one in own)


def _own_kind_first(run: Run, **kinds: list[str]) -> dict[str, list[str]]:
    """What there is to say of each kind of case by its title, that of the suite's kind first."""
    said = {kind: own for kind, own in kinds.items() if own}
    return {TITLES[kind]: said[kind] for kind in sorted(said, key=lambda k: k != run.suite.kind)}


def _titled(parts: dict[str, list[str]], form: str) -> list[str]:
    """One part after the other, each under its title if there are several."""
    if len(parts) < 2:
        return [part for own in parts.values() for part in own]
    return [part for title, own in parts.items() for part in (form.format(title), *own)]


def _listed(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _stability(run: Run, rows: list[Row], iterations: int, folder: Path) -> list[str]:
    fair = comparable(rows, iterations)
    by_loss = comparable_by_loss(rows, iterations)
    return [
        *tables.how_to_read(run.suite),
        *tables.left_out(fair, by_loss),
        *figures.sections(rows, fair, by_loss, folder),
        *tables.success(fair),
        *tables.accuracy(fair, by_loss),
        *tables.other_axes(fair),
        *tables.iterations(rows),
        *claims.sections(rows, fair),
        *tables.reference(rows),
    ]


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


def _set(run: Run) -> list[str]:
    """Parameters that are not the methods' own defaults."""
    words = ", ".join(f"`{name} = {value}`" for name, value in run.suite.parameters.items())
    return [f"> With {words} for every method that has such a parameter."] if words else []


def _packed(run: Run) -> list[str]:
    """How the pictures are seen of a run that keeps them in one file."""
    if not run.suite.bundle:
        return []
    return [
        "> **Packed.** The pictures of this report are in one file: "
        "`python -m zipfile -e figures.zip .` in its folder unpacks them, and "
        "`eigbench report FOLDER` draws them again."
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
        # A workload of profiles is timed as a whole, and its time stands with its first case.
        profile = isinstance(record.case, ProfileCase)
        name = "profiles" if profile else getattr(record.case, "method", "series")
        spent[name] = spent.get(name, 0) + record.elapsed_seconds
    total = sum(spent.values())
    if not total or list(spent) == ["profiles"]:
        return ""
    name = max(spent, key=lambda key: spent[key])
    return f", {100 * spent[name] / total:.0f} % of it in {name}"


def _plain(sentence: str) -> str:
    return sentence.replace("**", "").replace("`", "")
