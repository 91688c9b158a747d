"""A finding: what was found, what it means, what to change; and what findings are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from eigbench.diagnosis.facts import PRECISIONS, Facts
from eigbench.diagnosis.subjects import Subject
from eigbench.diagnosis.trials import Measured


class Severity(IntEnum):
    """How bad it is; the worst first."""

    FAILS = 0
    """A NaN, an infinity or an error, now or at the next step."""
    WRONG = 1
    """Nothing shows, and the numbers are wrong."""
    BEWARE = 2
    """Right today, and fragile."""
    NOTE = 3
    WELL = 4


@dataclass(frozen=True)
class Finding:
    """One thing to know about a matrix, for somebody who has never met it."""

    severity: Severity
    title: str
    found: str
    means: str
    change: str = ""
    code: str = ""
    """Lines to paste."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that findings are drawn from."""

    subjects: tuple[Subject, ...]
    facts: tuple[Facts, ...]
    """One for each subject."""
    measured: tuple[Measured, ...]
    """Of the worst finite matrices, the worst first."""

    @property
    def total(self) -> int:
        """How many matrices there are."""
        return len(self.facts)

    @property
    def precision(self) -> str:
        """The precision that the user works in: that of the matrices, or float32."""
        dtype = self.facts[0].dtype
        return dtype if dtype in PRECISIONS else PRECISIONS[0]
