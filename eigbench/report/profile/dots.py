"""The picture of what a training step takes, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eigbench.report.markdown import figure
from eigbench.report.plots import panels, save
from eigbench.report.profile.looks import drawn, look
from eigbench.report.profile.naming import Names, place, size
from eigbench.report.profile.profiles import Profile, timed, where, workloads
from eigbench.report.profile.writing import MILLI

MOST_PANELS = 6


def step_time(profiles: Sequence[Profile], names: Names, folder: Path) -> list[str]:
    """A panel a workload, a row a method, batch normalisation as a line."""
    shown = workloads(timed(where(profiles, subject="step")))[:MOST_PANELS]
    if not shown:
        return []
    rows = max(len(drawn(own, names)) for own in shown)
    picture, axes = panels(len(shown), width=4.8, height=1.2 + 0.27 * rows)
    for panel, own in zip(axes, shown, strict=True):
        lines = drawn(own, names)
        for row, (_, (profile, *_)) in enumerate(lines):
            time, own_look = profile.time, look(profile)
            if time:
                panel.plot([MILLI * time.low, MILLI * time.high], [row, row],
                           color=own_look["color"], linewidth=2)  # fmt: skip
                panel.plot([MILLI * time.middle], [row], **{**own_look, "linestyle": "none"})
                if profile.case.method == "bn":
                    panel.axvline(MILLI * time.middle, color="black", linestyle=":", zorder=0)
        panel.set_yticks(range(len(lines)), [label for label, _ in lines], fontsize=8)
        panel.set_ylim(len(lines) - 0.4, -0.6)
        panel.set_xlim(0, 1.08 * panel.get_xlim()[1])
        panel.set_xlabel("time of a training step, ms")
        panel.set_ylabel("method")
        panel.set_title(f"{size(own[0].case)}\n{place(own[0].case)}", fontsize=9)
    link = save(picture, folder, "profile-step-time")
    return [
        figure(
            link,
            "Time of a training step of ResNet18: the median over rounds and its interval. The "
            "dotted line is batch normalisation.",
        )
    ]
