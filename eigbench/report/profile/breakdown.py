"""The picture of where the time goes: by pass, and in each pass by phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch

from eigbench.report.markdown import figure
from eigbench.report.plots import panels, save
from eigbench.report.profile.looks import PHASES, REST
from eigbench.report.profile.naming import Names, title
from eigbench.report.profile.profiles import PASSES, Profile, workloads
from eigbench.report.profile.writing import MILLI

HATCHES = {"forward": "", "backward": "////", "update": "...."}
MOST_PANELS = 6
LEGEND_ENTRY = 1.5
"""How wide an entry of the legend is, in inches."""

Parts = list[tuple[str, str, float]]
"""Pass, phase and seconds."""


def parts(profile: Profile) -> Parts:
    """Where the time of one traced run went, pass by pass; empty if that is not recorded."""
    words = zip(profile.words("phase_pass"), profile.words("phase"), strict=False)
    found = list(zip(words, profile.values("phase_seconds"), strict=False))
    order = {name: rank for rank, name in enumerate(PASSES)}
    known = [(p, phase, float(s)) for (p, phase), s in found if s > 0 and s < float("inf")]
    return sorted(known, key=lambda part: order.get(part[0], len(order)))


def chosen(profiles: Sequence[Profile]) -> list[list[Profile]]:
    """The workloads that a reader sees: those with a trace, or else the largest of a subject."""
    known = [group for group in workloads(p for p in profiles if parts(p)) if group]
    traced = [group for group in known if any(p.case.trace for p in group)]
    last = {group[0].case.subject: group for group in known}
    return (traced or list(last.values()))[:MOST_PANELS]


def sections(profiles: Sequence[Profile], names: Names, folder: Path) -> list[str]:
    """One picture: a panel a workload, a bar a method."""
    shown = chosen(profiles)
    if not shown:
        return []
    labelled = [[(label, own[0]) for label, own in names.group(g).items()] for g in shown]
    rows = max(map(len, labelled))
    picture, axes = panels(
        len(shown), width=6.5 if len(shown) == 1 else 5.0, height=1.3 + 0.3 * rows
    )
    for panel, lines, group in zip(axes, labelled, shown, strict=True):
        for row, (_, profile) in enumerate(lines):
            _bar(panel, row, parts(profile))
        panel.set_yticks(range(len(lines)), [label for label, _ in lines], fontsize=8)
        panel.set_ylim(len(lines) - 0.4, -0.6)
        panel.set_xlabel("time of one run, ms")
        panel.set_ylabel("method")
        panel.set_title(title(group[0].case), fontsize=9)
    _legend(
        picture, [part for lines in labelled for _, profile in lines for part in parts(profile)]
    )
    link = save(picture, folder, "profile-where-time-goes")
    return [
        figure(
            link,
            "Where the time of one traced run goes: by phase (colour) in the forward pass (plain), "
            "the backward pass (hatched) and the update (dotted). A single run, with its pauses, "
            "and slowed by the profiler: read the shares here, and the times in the tables.",
        )
    ]


def _bar(panel: Any, row: int, found: Parts) -> None:
    left = 0.0
    for name, phase, seconds in found:
        panel.barh(row, MILLI * seconds, left=left, height=0.7, color=PHASES.get(phase, REST),
                   hatch=HATCHES.get(name, ""), edgecolor="white", linewidth=0.5)  # fmt: skip
        left += MILLI * seconds


def _legend(picture: Any, found: Parts) -> None:
    phases = [phase for phase in PHASES if any(part[1] == phase for part in found)]
    passes = [name for name in HATCHES if any(part[0] == name for part in found)]
    entries = [Patch(color=PHASES[phase], label=phase) for phase in phases]
    entries += [
        Patch(facecolor="0.6", edgecolor="white", hatch=HATCHES[name], label=name)
        for name in passes
    ]
    columns = min(len(entries), int(picture.get_figwidth() / LEGEND_ENTRY))
    picture.legend(handles=entries, loc="outside lower center", ncols=columns, fontsize=9)
