"""How findings are worded: numbers, lists, and which matrices are meant."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eigbench.diagnosis.facts import Facts
from eigbench.report.markdown import percent, scientific

NAMED = 3
"""So many matrices are named one by one."""


def listed(words: Sequence[str]) -> str:
    """Such as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def labels(some: Sequence[Facts], total: int) -> str:
    """Which matrices: "M", "M[3]", or "12 of 64 matrices (M[0], M[4], M[7], …)"."""
    if total == 1 or len(some) == 1:
        return some[0].label
    named = ", ".join(facts.label for facts in some[:NAMED])
    more = ", …" if len(some) > NAMED else ""
    return f"{len(some)} of {total} matrices ({named}{more})"


def whose(some: Sequence[Facts], worst: Facts, total: int) -> str:
    """The start of a sentence on these matrices that gives the numbers of the worst of them."""
    named = labels(some, total)
    return named if len(some) == 1 else f"{named}; the worst, {worst.label}"


def off(error: float) -> str:
    """A relative error: a percentage where that can be read, else a power of ten."""
    if not math.isfinite(error):
        return "without measure"
    return percent(error) if 0.001 <= error < 10 else scientific(error)


def number(value: float) -> str:
    """A number of a table; ∞ where it is infinite."""
    return "∞" if math.isinf(value) else scientific(value)
