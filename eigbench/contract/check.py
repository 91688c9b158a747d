"""A check: one promise of a method, how it is put to the test, and what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from eigbench.contract.subject import Subject
from eigbench.errors import NotApplicable, in_one_line

State = Literal["held", "violated", "not applicable"]


@dataclass(frozen=True)
class Reading:
    """One comparison, as text; `share` is the part of what is allowed that was used up.

    That of a fact, which is measured by no number, is 0 if it holds.
    """

    place: str
    what: str
    found: str
    allowed: str
    share: float
    is_number: bool = True

    @property
    def holds(self) -> bool:
        """Whether what was found is allowed."""
        return self.share <= 1


@dataclass
class Log:
    """The readings of one check; a check writes them down in places."""

    readings: list[Reading] = field(default_factory=list)
    _place: str = ""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Readings taken inside are those of `place`; what is raised inside is one of them."""
        outside, self._place = self._place, place
        try:
            yield
        except NotApplicable:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a method raises is a finding
            self.holds("outcome", condition=False, found=in_one_line(error), allowed="no error")
        finally:
            self._place = outside

    def within(self, what: str, found: float, allowed: float) -> None:
        """A number that must not exceed `allowed`; NaN does."""
        share = math.inf if math.isnan(found) else found / allowed
        self.readings.append(Reading(self._place, what, f"{found:.1e}", f"{allowed:.1e}", share))

    def holds(self, what: str, *, condition: bool, found: object, allowed: object) -> None:
        """A fact that must be so."""
        share = 0.0 if condition else math.inf
        texts = (str(found), str(allowed))
        self.readings.append(Reading(self._place, what, *texts, share, is_number=False))

    def equal(self, what: str, found: object, wanted: object) -> None:
        """Two things that must be the same."""
        self.holds(what, condition=found == wanted, found=found, allowed=wanted)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check of one method."""

    check: str
    claim: str
    state: State
    worst: Reading | None = None
    """Of the readings the one that came closest to what is allowed, or went farthest beyond it."""
    violations: int = 0
    reason: str = ""
    """Why the check does not apply."""


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


CHECKS: list[Check] = []
"""Every check, in the order in which they are made and shown."""


def check(name: str, claim: str) -> Callable[[Body], Check]:
    """Make a check of the function that it decorates, and one of `CHECKS`."""

    def made(body: Body) -> Check:
        CHECKS.append(Check(name, claim, body))
        return CHECKS[-1]

    return made
