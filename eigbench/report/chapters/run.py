"""What every report ends with: exceptions, skipped cases, the machine, how to repeat it."""

from __future__ import annotations

from collections import defaultdict

from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.report.frame import Frames
from eigbench.report.names import word
from eigbench.report.numbers import percent
from eigbench.report.render import Chapter, escape, render, table
from eigbench.runs.record import Record

AXES = (
    "subject", "spectrum", "model", "layer", "d", "components", "energy", "batch", "gap", "ratio",
    "scale", "dtype", "epsilon", "iterations", "truncation", "loss",
)  # fmt: skip


def chapters(frames: Frames) -> list[Chapter]:
    """The last chapters of every report, in order."""
    return [_exceptions(frames), _skipped(frames), _environment(frames), _repeat(frames)]


def described(case: Case) -> str:
    """A case in words, with its id."""
    values = {axis: getattr(case, axis, None) for axis in AXES}
    return f"{', '.join(word(a, v) for a, v in values.items() if v is not None)} (`{case.id}`)"


def _method(case: Case) -> str:
    return str(getattr(case, "method", case.kind))


def _exceptions(frames: Frames) -> Chapter:
    """Cases that ended in an exception, by method and reason."""
    failed = [record for record in frames.run.records if record.status == "failed"]
    body = _grouped(failed)
    text = table(["method", "reason", "cases", "the first"], body) if body else ""
    return Chapter(
        f"Exceptions ({len(failed)})", render("run-exceptions", table=text), folded=not failed
    )


def _grouped(records: list[Record]) -> list[list[str]]:
    """A row a method and reason."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        reason = record.reason or "no reason recorded"
        found[_method(record.case), reason].append(record)
    return [
        [f"`{method}`", escape(reason), str(len(own)), described(own[0].case)]
        for (method, reason), own in found.items()
    ]


def _skipped(frames: Frames) -> Chapter:
    """Cases that make no sense or that a method cannot take, by reason."""
    skipped = [record for record in frames.run.records if record.status == "skipped"]
    found: dict[str, list[Record]] = defaultdict(list)
    for record in skipped:
        found[record.reason or "no reason recorded"].append(record)
    everyone = {_method(record.case) for record in frames.run.records}
    body = []
    for reason, own in found.items():
        methods = list(dict.fromkeys(_method(record.case) for record in own))
        names = "all methods" if len(methods) >= 0.9 * len(everyone) > 1 else ", ".join(methods)
        body.append([escape(reason), names, str(len(own)), described(own[0].case)])
    text = table(["reason", "methods", "cases", "the first"], body) if body else ""
    return Chapter(f"Skipped cases ({len(skipped)})", render("run-skipped", table=text))


def _environment(frames: Frames) -> Chapter:
    counts = [
        sum(record.session == index for record in frames.run.records)
        for index in range(len(frames.run.environment.sessions))
    ]
    sessions = zip(frames.run.environment.sessions, counts, strict=True)
    return Chapter("Where it was measured", render("run-environment", sessions=[*sessions]))


def _repeat(frames: Frames) -> Chapter:
    run = frames.run
    spent: dict[str, float] = defaultdict(float)
    for record in run.records:
        # A workload of profiles is timed as a whole, and its time stands with its first case.
        profile = isinstance(record.case, ProfileCase)
        spent["profiles" if profile else _method(record.case)] += record.elapsed_seconds
    total = sum(spent.values())
    slowest = max(spent, key=lambda name: spent[name], default="")
    share = percent(spent[slowest] / total) if total and len(spent) > 1 else ""
    command = run.environment.sessions[0].command if run.environment.sessions else "eigbench"
    text = render("run-repeat", command=command, cases=len(run.records), seconds=total,
                  slowest=slowest, share=share)  # fmt: skip
    return Chapter("How to repeat it", text)
