"""A check: one promise of a method, and how it is put to the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eigbench.contract.finding import Finding, Log, State
from eigbench.contract.subject import Subject
from eigbench.errors import NotApplicable

Body = Callable[[Subject, Log], None]


@dataclass(frozen=True)
class Check:
    """One promise. `body` writes readings down, or raises `NotApplicable` with the reason."""

    name: str
    claim: str
    body: Body

    def __call__(self, subject: Subject) -> Finding:
        """Put one method to the test."""
        log = Log()
        try:
            with log.at("before anything is computed"):
                self.body(subject, log)
        except NotApplicable as reason:
            return Finding(self.name, self.claim, "not applicable", reason=str(reason))
        if not log.readings:
            raise AssertionError(f"the check {self.name!r} has looked at nothing")
        worst = max(log.readings, key=lambda reading: reading.share)
        violations = sum(not reading.holds for reading in log.readings)
        state: State = "violated" if violations else "held"
        return Finding(self.name, self.claim, state, worst, violations)


def check(name: str, claim: str) -> Callable[[Body], Check]:
    """Make a check of the function that it decorates."""
    return lambda body: Check(name, claim, body)
