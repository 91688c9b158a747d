"""A report from top to bottom: what was found, what to use, and folded chapters under it.

It ends with exceptions, skipped cases, the machine, and how to repeat it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from pkgutil import resolve_name

import msgspec

from eigbench.kinds import KINDS, Case
from eigbench.report.frame import Frames
from eigbench.report.names import word
from eigbench.report.render import Chapter, escape, render, table
from eigbench.runs.environment import Session
from eigbench.runs.record import Record
from eigbench.runs.store import Run

BESIDE = 0.1
"""A part with no larger a share of the cases is folded under the suite's own."""


def compose(measured: Run, folder: Path) -> tuple[str, list[str]]:
    """The Markdown of a run, and its summary for a terminal. Figures are written into `folder`."""
    measured = measured.harmless()
    frames = Frames(measured, folder)
    suite = measured.suite
    named = dict.fromkeys([KINDS[suite.kind].part, *(kind.part for kind in KINDS.values())])
    found = {name: part for name in named if (part := resolve_name(name)(frames)) is not None}
    beside = [name for name in list(found)[1:] if _share(measured, name) <= BESIDE]
    parts = [part for name, part in found.items() if name not in beside]
    text = render(
        "report",
        title=suite.title or suite.name,
        parts=parts,
        beside=[found[name] for name in beside],
        chapters=last_chapters(frames),
        missing=len(measured.missing),
        planned=len(measured.plan),
        parameters=suite.parameters,
        notes=measured.notes,
    )
    return text + "\n", [sentence for part in parts for sentence in part.summary]


def _share(measured: Run, part: str) -> float:
    """The share of a run's records that this part shows."""
    own = sum(KINDS[record.case.kind].part == part for record in measured.records)
    return own / max(len(measured.records), 1)


AXES = (
    "subject", "spectrum", "model", "layer", "d", "components", "energy", "batch", "gap", "ratio",
    "scale", "dtype", "epsilon", "iterations", "truncation", "loss",
)  # fmt: skip


def last_chapters(frames: Frames) -> list[Chapter]:
    """The last chapters of every report, in order."""
    found = [
        _by_reason(frames, status, title)
        for status, title in (("failed", "Exceptions"), ("skipped", "Skipped cases"))
    ]
    sessions = frames.run.environment.sessions
    places = _places(frames.run)
    repeat = render(
        "run-repeat",
        command=sessions[0].command if sessions else "eigbench",
        cases=len(frames.run.records),
        seconds=sum(record.elapsed_seconds for record in frames.run.records),
        workers=len({session.worker for session in sessions} - {""}),
    )
    return [
        *found,
        Chapter(
            "Where it was measured",
            render(
                "run-environment",
                sessions=places,
                several_hosts=len({session.host for session, *_ in places}) > 1,
            ),
        ),
        Chapter("How to repeat it", repeat),
    ]


def _places(run: Run) -> list[tuple[Session, int, int]]:
    """The processes that measured, with their cases; like workers of one machine are one entry.

    Of each the first, how many cases it recorded, and how many workers it stands for: 0 for the
    process of a command.
    """
    counts = Counter(record.session for record in run.records)
    found: dict[object, tuple[Session, int, set[str]]] = {}
    for index, session in enumerate(run.environment.sessions):
        alike: object = index
        if session.worker:
            alike = repr(msgspec.structs.replace(session, started_at="", worker=""))
        first, cases, names = found.get(alike, (session, 0, set()))
        found[alike] = first, cases + counts[index], names | {session.worker} - {""}
    return [(session, cases, len(names)) for session, cases, names in found.values()]


def described(case: Case) -> str:
    """A case in words, with its id."""
    values = {axis: getattr(case, axis, None) for axis in AXES}
    return f"{', '.join(word(a, v) for a, v in values.items() if v is not None)} (`{case.id}`)"


def _method(case: Case) -> str:
    return str(getattr(case, "method", case.kind))


def _by_reason(frames: Frames, status: str, title: str) -> Chapter:
    """Cases that ended in an exception, or were skipped; one that names its method is for all."""
    records = [record for record in frames.run.records if record.status == status]
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        method, reason = _method(record.case), record.reason or "no reason recorded"
        found[f"the method {bare}" if (bare := reason.removeprefix(f"{method} ")) != reason
              else reason].append(record)  # fmt: skip
    everyone = {_method(record.case) for record in frames.run.records}
    body = []
    for reason, own in found.items():
        methods = dict.fromkeys(_method(record.case) for record in own)
        names = "all methods" if len(methods) >= 0.9 * len(everyone) > 1 else ", ".join(methods)
        body.append([escape(reason), names, str(len(own)), described(own[0].case)])
    text = table(["reason", "methods", "cases", "the first"], body) if body else ""
    folded = status == "skipped" or not records
    return Chapter(f"{title} ({len(records)})", render("run-reasons", table=text), folded=folded)
