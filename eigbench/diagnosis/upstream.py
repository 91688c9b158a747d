"""Findings about what reached the decomposition from the loss, and about where it was met."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eigbench.diagnosis.facts import epsilon
from eigbench.diagnosis.findings import Evidence, Finding, Severity
from eigbench.diagnosis.subjects import Origin, Subject
from eigbench.diagnosis.trials import Measured
from eigbench.diagnosis.uses import vectors_of_torch
from eigbench.diagnosis.writing import listed, number

GAUGE_ROUNDING = 100
"""So many rounding errors of `VᵀdL/dV` still count as none."""


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What the upstream gradients show, and the call that `watch` saved."""
    for subject in evidence.subjects:
        if subject.origin is not None:
            yield _met(subject, subject.origin)
    for subject in evidence.subjects:
        if not subject.upstream.finite:
            yield _not_finite(subject)
            break
    for measured in evidence.measured:
        found = _gauge(measured, evidence.precision)
        if found is not None:
            yield found
            break


def _met(subject: Subject, origin: Origin) -> Finding:
    place = f"; matrix {list(origin.place)} of a batch {origin.shape}" if origin.place else ""
    module = f" in module `{origin.module}`" if origin.module else ""
    means = "What follows is measured on that very matrix."
    if subject.gram:
        means = (
            "`svd` divides by differences of squared singular values, which are the eigenvalues of "
            "XᵀX. What follows is measured on XᵀX; M stands for it."
        )
    return Finding(
        Severity.NOTE,
        f"Saved by eigbench.watch: {origin.cause}",
        f"torch.linalg.{origin.operation}{module} after {origin.step} steps of the "
        f"optimiser{place}.",
        means,
    )


def _not_finite(subject: Subject) -> Finding:
    bad = [name for name, array in subject.upstream.given() if not np.isfinite(array).all()]
    return Finding(
        Severity.FAILS,
        "The gradient was not finite before it reached the decomposition",
        f"{subject.label}: {listed(bad)} holds NaN or infinite values.",
        "The backward pass runs from the loss to M: what is NaN here was NaN before the derivative "
        "of the decomposition was computed. The decomposition is not the cause.",
        "Look at what the loss makes of the eigenpairs: a root or a power of an eigenvalue that "
        "is zero or negative, a logarithm, a division; in mixed precision, the loss's scale.",
        "torch.autograd.set_detect_anomaly(True)  # for one step: names the operation",
    )


def _gauge(measured: Measured, precision: str) -> Finding | None:
    """Whether the loss depends on which eigenvectors a tie happens to have."""
    upstream, facts = measured.subject.upstream, measured.facts
    if upstream.by_eigenvectors is None or not upstream.finite:
        return None
    vectors = upstream.eigenvectors
    V = vectors_of_torch(measured.subject) if vectors is None else vectors
    A = V.T @ upstream.by_eigenvectors
    gaps = np.abs(facts.eigenvalues[:, None] - facts.eigenvalues[None, :])
    tied = gaps <= facts.n * epsilon(precision) * facts.largest
    np.fill_diagonal(tied, val=False)
    turning = np.abs(np.where(tied, A - A.T, 0)).max(initial=0)
    scale = np.abs(A).max(initial=0)
    if not tied.any():
        return None
    if turning <= GAUGE_ROUNDING * epsilon(precision) * scale:
        return Finding(
            Severity.NOTE,
            "The loss does not depend on the basis of the tied eigenvectors",
            f"{facts.label}: turning the tied eigenvectors among themselves changes the loss by "
            f"{number(turning / scale if scale else 0)} of its largest derivative, which is "
            "rounding.",
            "So the loss is one of a function of M or of a subspace, and has a derivative, though "
            "0/0 does not show it.",
            "Write the loss with the function of M itself.",
            'S = eigbench.matrix_function(M, "inverse-square-root")',
        )
    return Finding(
        Severity.FAILS,
        "The loss depends on eigenvectors that are not determined",
        f"{facts.label}: turning the tied eigenvectors among themselves changes the loss, by "
        f"{number(turning / scale)} of its largest derivative.",
        "Equal eigenvalues share a subspace, and any basis of it is an eigenbasis: which one comes "
        "out is rounding. A loss of single vectors of it has no derivative, whatever the method: "
        "a method that gives a finite number there invents it.",
        "Let the loss see the projector on the subspace, or a function of M, instead of its "
        "vectors one by one.",
        "P = V[:, -k:] @ V[:, -k:].mT  # the leading k, with a gap below them",
    )
