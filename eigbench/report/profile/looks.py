"""Colours of methods, phases and passes in the figures of profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eigbench.report.plots import style
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import Profile

# Okabe and Ito (2008).
PHASES = {
    "covariance": "#56B4E9",
    "decomposition": "#D55E00",
    "coefficients": "#F0E442",
    "products": "#009E73",
    "other": "#BBBBBB",
}
PASSES = {"forward": "#E4E4E4", "backward": "#BFBFBF", "update": "#9A9A9A"}
# Tol (2021), muted: none of them is that of a phase.
OPERATORS = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#AA4499")
REST = "#CCCCCC"


def look(profile: Profile) -> dict[str, Any]:
    """A method's own; hollow and dotted where it is compiled."""
    own = style(profile.case.method)
    if profile.case.compiled:
        own = {**own, "markerfacecolor": "white", "linestyle": (0, (4, 1, 1, 1))}
    return own


def drawn(profiles: Sequence[Profile], names: Names) -> list[tuple[str, list[Profile]]]:
    """The timed profiles by name, references first."""
    groups = names.group(profile for profile in profiles if profile.time)
    return list(groups.items())
