"""The pictures of time against the matrix size and against the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eigbench.report.markdown import figure
from eigbench.report.plots import legend_below, panels, save
from eigbench.report.profile.cliffs import Cliff, marked
from eigbench.report.profile.looks import drawn, look
from eigbench.report.profile.naming import SUBJECTS, Names
from eigbench.report.profile.profiles import Profile, timed, values_of, where
from eigbench.report.profile.scaling import Points, along
from eigbench.report.profile.writing import MILLI

MOST_PRECISIONS = 2
CLOSE = 1.25
"""Sizes that are closer than this factor have one label between them."""

_AXES = {"d": "matrix size d", "batch": "batch"}
_OTHERS = {"d": "batch", "batch": "d"}


def sections(
    subject: str, profiles: Sequence[Profile], names: Names, cliffs: Sequence[Cliff], folder: Path
) -> list[str]:
    """By size and by batch, if a subject was timed at more than one of them."""
    own = timed(where(profiles, subject=subject))
    chosen = {axis: _chosen(own, axis, cliffs) for axis in ("d", "batch")}
    return [_figure(shown, names, cliffs, axis, folder) for axis, shown in chosen.items() if shown]


def _chosen(profiles: Sequence[Profile], axis: str, cliffs: Sequence[Cliff]) -> list[list[Profile]]:
    """By precision a panel for the smallest value of the other axis, and one for a large one."""
    other = _OTHERS[axis]
    by_dtype = []
    for dtype in values_of(profiles, "dtype"):
        own = where(profiles, dtype=dtype)
        by_dtype.append([where(own, **{other: value}) for value in values_of(own, other)])
    most = max((len(values_of(line, axis)) for lines in by_dtype for line in lines), default=0)
    # A line of few points beside others of many shows nothing.
    least = max(1, most / 2)
    kept = [[line for line in own if len(values_of(line, axis)) > least] for own in by_dtype]
    ends = [_two(own, axis, cliffs) for own in kept if own]
    return [line for own in ends[:MOST_PRECISIONS] for line in own]


def _two(lines: list[list[Profile]], axis: str, cliffs: Sequence[Cliff]) -> list[list[Profile]]:
    """The first, and the last of those that have most cliffs to show; or the one there is."""
    if len(lines) < 2:
        return lines
    return [lines[0], max(reversed(lines[1:]), key=lambda line: len(_of(cliffs, line, axis)))]


def _of(cliffs: Sequence[Cliff], line: Sequence[Profile], axis: str) -> list[tuple[int, int]]:
    """The cliffs of a panel: between which sizes they are."""
    case, other = line[0].case, _OTHERS[axis]
    here = [c for c in cliffs if (c.subject, c.dtype) == (case.subject, case.dtype)]
    return marked([c for c in here if c.at.split()[-1] == str(getattr(case, other))], axis)


def _figure(
    shown: Sequence[list[Profile]],
    names: Names,
    cliffs: Sequence[Cliff],
    axis: str,
    folder: Path,
) -> str:
    subject, other = shown[0][0].case.subject, _OTHERS[axis]
    picture, axes = panels(len(shown), width=4.6 if len(shown) > 1 else 6.4)
    any_cliff = False
    for panel, own in zip(axes, shown, strict=True):
        for label, same in drawn(own, names):
            points = along(same, axis)
            if len(points) > 1:
                _line(panel, points, label, look(same[0]))
        case = own[0].case
        panel.set(xscale="log", yscale="log", xlabel=_AXES[axis])
        panel.set_ylabel("time of a run, ms")
        panel.set_title(f"{case.dtype}, {other} = {getattr(case, other)}", fontsize=9)
        _ticks(panel, values_of(own, axis))
        found = _of(cliffs, own, axis)
        any_cliff |= bool(found)
        for start, end in found:
            panel.axvline(math.sqrt(start * end), color="0.6", linestyle=":", linewidth=1, zorder=0)
            panel.annotate(f"{start}→{end}", (math.sqrt(start * end), 0.01), (2, 0),
                           xycoords=("data", "axes fraction"), textcoords="offset points",
                           fontsize=7, color="0.4")  # fmt: skip
    legend_below(picture, axes)
    link = save(picture, folder, f"profile-{subject}-by-{axis}")
    cliff = " A dotted upright line is a cliff." if any_cliff else ""
    caption = (
        f"{SUBJECTS[subject]}: time of a run, forward and backward, by {_AXES[axis]}; median over "
        f"rounds, with its interval.{cliff}"
    )
    return figure(link, caption)


def _line(panel: Any, points: Points, label: str, own: dict[str, Any]) -> None:
    """The medians, and their intervals upright through them."""
    sizes = [size for size, _ in points]
    ends = ([MILLI * getattr(time, end) for _, time in points] for end in ("low", "high"))
    panel.vlines(sizes, *ends, color=own["color"], linewidth=1, alpha=0.5)
    panel.plot(sizes, [MILLI * t.middle for _, t in points], label=label, linewidth=1.3, **own)


def _ticks(panel: Any, sizes: Sequence[int]) -> None:
    """The sizes themselves, but for those too close to the one before."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size >= CLOSE * kept[-1]:
            kept.append(size)
    panel.set_xticks(kept, [str(size) for size in kept], fontsize=8)
    panel.set_xticks([], minor=True)
