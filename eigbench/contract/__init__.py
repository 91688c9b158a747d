"""The contract of a method, as checks that say what they found: `eigbench check METHOD`."""

from __future__ import annotations

from collections.abc import Iterator

from eigbench.contract import declarations, forward, gradients, promises  # noqa: F401  # CHECKS
from eigbench.contract.check import CHECKS, Finding, Log, Reading
from eigbench.contract.subject import Subject
from eigbench.errors import in_one_line
from eigbench.methods.base import Method

__all__ = ["CHECKS", "Finding", "Reading", "findings"]


def findings(name: str, method: type[Method]) -> Iterator[Finding]:
    """Put the method that is known as `name` to every test, on the CPU; one finding for each.

    Whatever the method raises is a finding, and never raised here.
    """
    try:
        subject = Subject.of(name, method)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # as above
        log = Log()
        log.holds("constructor", condition=False, found=in_one_line(error), allowed="no error")
        first, *others = CHECKS
        yield Finding(first.name, first.claim, "violated", log.readings[0], 1)
        for check in others:
            yield Finding(check.name, check.claim, "not applicable", reason="there is no instance")
        return
    for check in CHECKS:
        yield check(subject)
