"""The contract: every check, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator

from eigbench.contract import (
    conduct,
    declarations,
    forward,
    gradients,
    limits,
    promises,
    second,
)
from eigbench.contract.check import Check
from eigbench.contract.finding import Finding, Log, in_one_line
from eigbench.contract.subject import Subject
from eigbench.methods.base import Method

CHECKS: tuple[Check, ...] = (
    declarations.parameters,
    declarations.names,
    declarations.refusals,
    forward.eigenpairs,
    forward.functions,
    forward.whitening,
    forward.edges,
    gradients.own_formula,
    gradients.symmetric,
    gradients.precision,
    gradients.neighbours,
    gradients.reproducible,
    gradients.vmap,
    gradients.compiles,
    second.second,
    conduct.inputs,
    conduct.state,
    promises.exact,
    promises.functions,
    promises.isolated,
    promises.subspace,
    limits.finite,
    limits.scale,
    limits.continuous,
)


def findings(name: str, method: type[Method]) -> Iterator[Finding]:
    """Put the method that is known as `name` to every test, on the CPU; one finding for each.

    Whatever the method raises is a finding, and never raised here.
    """
    try:
        subject = Subject.of(name, method)
    except Exception as error:  # noqa: BLE001  # as above
        log = Log()
        log.holds("constructor", condition=False, found=in_one_line(error), allowed="no error")
        first, *others = CHECKS
        yield Finding(first.name, first.claim, "violated", log.readings[0], 1)
        for check in others:
            yield Finding(check.name, check.claim, "not applicable", reason="there is no instance")
        return
    for check in CHECKS:
        yield check(subject)
