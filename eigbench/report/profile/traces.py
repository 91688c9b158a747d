"""The traces of a run: how to open them, and what the profiler's page would show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile import breakdown, timeline, writing
from eigbench.report.profile.naming import Names, title
from eigbench.report.profile.profiles import Profile, workloads
from eigbench.report.profile.writing import MILLI

COMMAND = "tensorboard --logdir traces"
UNPACK = "python -m zipfile -e traces.zip ."
MOST_ROWS = 15
LEAST_SHARE = 0.01
"""An operator has a row if it is at least this share of some method's listed time."""


def sections(profiles: Sequence[Profile], names: Names, folder: Path, *, packed: bool) -> list[str]:
    """The bar, the timelines, the operators; and the files, with the command that shows them.

    Where the traces are `packed` in one file, they are unpacked first.
    """
    parts = [
        *breakdown.sections(profiles, names, folder),
        *timeline.sections(profiles, names, folder),
        *_operators(profiles, names),
        *_files(profiles, names, [UNPACK, COMMAND] if packed else [COMMAND]),
    ]
    return ["## Where the time goes", *parts] if parts else []


def _operators(profiles: Sequence[Profile], names: Names) -> list[str]:
    """A table for each workload that was traced: operators down, methods across."""
    parts = []
    for own in breakdown.chosen(profiles):
        known = [profile for profile in own if operators(profile)]
        if known:
            parts += [f"**{title(own[0].case)}**", _operator_table(known, names)]
    if not parts:
        return []
    return [
        "### Operators by self time",
        "Milliseconds of one traced run within the operator itself, and how often it was called. "
        f"{NOTHING} is an operator that is not among the first of that method. On CUDA it is the "
        "time of the kernels that it launched.",
        *parts,
    ]


def operators(profile: Profile) -> dict[str, tuple[float, float]]:
    """Self time in seconds and number of calls by operator, the longest first."""
    columns = (profile.values(f"operator_{what}") for what in ("self_seconds", "calls"))
    rows = zip(profile.words("operator"), *columns, strict=False)
    return {name: (float(seconds), float(calls)) for name, seconds, calls in rows}


def _operator_table(profiles: Sequence[Profile], names: Names) -> str:
    columns = {label: operators(own[0]) for label, own in names.group(profiles).items()}
    totals = {
        label: sum(seconds for seconds, _ in found.values()) for label, found in columns.items()
    }
    least = LEAST_SHARE * max(totals.values())
    shares: dict[str, float] = {}
    for label, found in columns.items():
        if totals[label] > least:  # a layer that does nothing has its operators too
            for name, (seconds, _) in found.items():
                shares[name] = max(shares.get(name, 0.0), seconds / totals[label])
    kept = [name for name in shares if shares[name] >= LEAST_SHARE]
    kept = sorted(kept, key=lambda name: (-shares[name], name))[:MOST_ROWS]
    body = [
        [f"`{name}`", *(_operator_cell(found.get(name)) for found in columns.values())]
        for name in kept
    ]
    return table(["operator", *columns], body)


def _operator_cell(found: tuple[float, float] | None) -> str:
    if found is None:
        return NOTHING
    seconds, calls = found
    return f"{writing.rough(MILLI * seconds)} ({writing.count(calls)} ×)"


def _files(profiles: Sequence[Profile], names: Names, commands: Sequence[str]) -> list[str]:
    body = [
        [title(profile.case), names.of(profile.case), f"`{path}`"]
        for own in workloads(profiles)
        for profile in own
        for path in profile.words("trace")[:1]
    ]
    if not body:
        return []
    return [
        "### The traces themselves",
        "Of one run each, with shapes, stacks and memory. In the folder of this run,",
        "\n".join(["```", *commands, "```"]),
        'shows them in TensorBoard, tab PyTorch Profiler; `pip install "eigbench[traces]"` brings '
        "what it needs (torch-tb-profiler), and the page itself loads its chart library from the "
        "internet. Or drag a file into <https://ui.perfetto.dev>, which sends it nowhere. The "
        "ranges in them are the passes and the phases above.",
        table(["workload", "method", "trace"], body),
    ]
