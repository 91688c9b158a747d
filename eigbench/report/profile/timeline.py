"""The picture of one run over time: lanes of passes, phases and operators, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from eigbench.report.markdown import figure
from eigbench.report.plots import save
from eigbench.report.profile.looks import OPERATORS, PASSES, PHASES, REST
from eigbench.report.profile.naming import SUBJECTS, Names, title
from eigbench.report.profile.profiles import Profile, values_of, where, workloads
from eigbench.report.profile.writing import MILLI

MOST_METHODS = 6
LONGEST_NAME = 34
NAMED = 0.08
"""An event over so much of the width of a picture has its name in it."""


@dataclass(frozen=True)
class Event:
    """One bar: where it starts and how long it is, in ms of the run."""

    name: str
    lane: int
    start: float
    length: float


def events(profile: Profile) -> list[Event]:
    """The events of one traced run, the longer first, from 0 on."""
    starts, lengths, lanes = (
        profile.values(metric) for metric in ("event_start_seconds", "event_seconds", "event_lane")
    )
    names = profile.words("event")
    if not len(names) or {len(starts), len(lengths), len(lanes)} != {len(names)}:
        return []
    if not np.isfinite([*starts, *lengths, *lanes]).all():
        return []
    first = starts.min()
    found = [
        Event(name, int(lane), MILLI * (start - first), MILLI * length)
        for name, lane, start, length in zip(names, lanes, starts, lengths, strict=True)
    ]
    return sorted(found, key=lambda event: -event.length)


def sections(profiles: Sequence[Profile], names: Names, folder: Path) -> list[str]:
    """One picture a subject: of its last traced workload, which is its largest."""
    result = []
    for subject in values_of(profiles, "subject"):
        traced = where(profiles, subject=subject, trace=True)
        own = workloads(profile for profile in traced if _operators(profile))
        if own:
            result.append(_figure(own[-1], names, folder))
    return result


def _figure(profiles: Sequence[Profile], names: Names, folder: Path) -> str:
    lines = [(label, own[0]) for label, own in names.group(profiles).items()]
    left_out = [label for label, _ in lines[MOST_METHODS:]]
    lines = lines[:MOST_METHODS]
    colours = _operator_colours([event for _, p in lines for event in _operators(p)])
    heights = [1.0 + 0.26 * max(1, len(_lanes(profile))) for _, profile in lines]
    picture, axes = plt.subplots(
        len(lines), 1, figsize=(11, sum(heights)), squeeze=False, layout="constrained",
        height_ratios=heights,
    )  # fmt: skip
    for panel, (label, profile) in zip(axes.flat, lines, strict=True):
        _draw(panel, label, profile, colours)
    axes.flat[-1].set_xlabel("ms since the start of the run, each run in its own scale")
    found = {event.name for _, profile in lines for event in events(profile)}
    entries = [Patch(color=colour, label=f"phase: {name}")
               for name, colour in PHASES.items() if name in found]  # fmt: skip
    entries += [Patch(color=colour, label=_short(name)) for name, colour in colours.items()]
    entries.append(Patch(color=REST, label="other operators"))
    picture.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=8)
    subject = profiles[0].case.subject
    link = save(picture, folder, f"profile-timeline-{subject}")
    missing = f" Not drawn: {', '.join(left_out)}." if left_out else ""
    caption = (
        f"{SUBJECTS[subject]}: one traced run of each method over time ({title(profiles[0].case)}"
        f"); its longest events. Those without an operator are not drawn.{missing}"
    )
    return figure(link, caption)


def _short(name: str) -> str:
    """The end of a long name, which is what tells it from others."""
    return name if len(name) <= LONGEST_NAME else f"…{name[-LONGEST_NAME:]}"


def _draw(panel: Any, label: str, profile: Profile, colours: dict[str, str]) -> None:
    lanes = _lanes(profile)
    found = events(profile)
    end = max(event.start + event.length for event in found)
    for event in found:
        colour = _colour(lanes[event.lane], event.name, colours)
        panel.broken_barh([(event.start, event.length)], (event.lane - 0.4, 0.8), color=colour,
                          edgecolor="white", linewidth=0.3)  # fmt: skip
        if event.length > NAMED * end and not lanes[event.lane].startswith(("operator", "stream")):
            panel.text(event.start + event.length / 2, event.lane, event.name, ha="center",
                       va="center", fontsize=7, clip_on=True)  # fmt: skip
    panel.set_yticks(range(len(lanes)), lanes, fontsize=8)
    panel.set_ylim(len(lanes) - 0.4, -0.6)
    panel.set_xlim(0, end * 1.005)
    panel.set_ylabel("lane")
    panel.set_title(label, fontsize=9, loc="left")


def _lanes(profile: Profile) -> list[str]:
    """The lanes by name, as many as the events need."""
    named = profile.words("lane")
    needed = 1 + max((event.lane for event in events(profile)), default=-1)
    return [named[i] if i < len(named) else f"lane {i}" for i in range(max(needed, len(named)))]


def _operators(profile: Profile) -> list[Event]:
    lanes = _lanes(profile)
    return [event for event in events(profile) if lanes[event.lane] not in ("pass", "phase")]


def _operator_colours(found: Sequence[Event]) -> dict[str, str]:
    """Colours for the operators that take the most time in all the runs together."""
    total: dict[str, float] = {}
    for event in found:
        total[event.name] = total.get(event.name, 0.0) + event.length
    most = sorted(total, key=lambda name: (-total[name], name))[: len(OPERATORS)]
    return dict(zip(most, OPERATORS, strict=False))


def _colour(lane: str, name: str, operators: dict[str, str]) -> str:
    known = {"pass": PASSES, "phase": PHASES}.get(lane, operators)
    return known.get(name, REST)
