"""Findings about the entries: NaN, asymmetry, a precision that holds too few digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eigbench.data.matrices import SYMMETRY_TOLERANCE
from eigbench.diagnosis.facts import PRECISIONS, epsilon
from eigbench.diagnosis.findings import Evidence, Finding, Severity
from eigbench.diagnosis.writing import labels, number, whose

HALF = ("float16", "bfloat16")


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What the entries themselves show."""
    yield from _not_finite(evidence)
    yield from _asymmetric(evidence)
    yield from _half(evidence)
    yield from _out_of_range(evidence)


def _not_finite(evidence: Evidence) -> Iterator[Finding]:
    some = [facts for facts in evidence.facts if facts.not_finite]
    if not some:
        return
    first = some[0]
    row, column = first.first_not_finite
    yield Finding(
        Severity.FAILS,
        "M is not finite before it is decomposed",
        f"{whose(some, first, evidence.total)}: {first.not_finite} of {first.n**2} entries are NaN "
        f"or infinite, the first at row {row}, column {column}.",
        "No eigendecomposition can take this: torch.linalg.eigh raises, or returns NaN. The cause "
        "lies before it, in what M was computed from: an input, an activation that overflowed, or "
        "a parameter that an earlier gradient made NaN.",
        "Find the first operation that is not finite; check the input of the layer that makes M.",
        "assert torch.isfinite(x).all()  # x: what M is computed from",
    )


def _asymmetric(evidence: Evidence) -> Iterator[Finding]:
    some = [facts for facts in evidence.facts if facts.asymmetry > SYMMETRY_TOLERANCE]
    if not some:
        return
    worst = max(some, key=lambda facts: facts.asymmetry)
    yield Finding(
        Severity.WRONG,
        "M is not symmetric",
        f"{whose(some, worst, evidence.total)}: entries differ from their mirror image by up to "
        f"{number(worst.asymmetry)} of the largest; up to {SYMMETRY_TOLERANCE:.0e} is rounding. "
        "Everything else in this report is of (M + Mᵀ)/2.",
        "torch.linalg.eigh reads the lower triangle only: it decomposes another matrix than M, "
        "without a warning, and the upper triangle gets no gradient.",
        "If M should be symmetric, make it so where it is computed. If it should not, it has no "
        "eigendecomposition of this kind: see torch.linalg.svd or torch.linalg.eig.",
        "M = (M + M.mT) / 2",
    )


def _half(evidence: Evidence) -> Iterator[Finding]:
    some = [facts for facts in evidence.facts if facts.dtype in HALF]
    if not some:
        return
    dtype = some[0].dtype
    yield Finding(
        Severity.BEWARE,
        f"{dtype} holds too few digits for eigenvalues",
        f"{labels(some, evidence.total)}: given in {dtype}, whose rounding error is "
        f"{number(epsilon(dtype))} of a number.",
        f"torch.linalg.eigh does not take {dtype}, and what was rounded to it before is lost: "
        f"eigenvalues less than about {number(epsilon(dtype))}·‖M‖ apart cannot be told from each "
        "other. Here M is decomposed in float32 and float64 as it stands in the file.",
        "Compute M and its decomposition in float32 from activations that are converted first.",
        'with torch.autocast("cuda", enabled=False):\n    x = x.float()  # then compute M of x',
    )


def _out_of_range(evidence: Evidence) -> Iterator[Finding]:
    """Of float32, at either end."""
    limits = np.finfo(np.float32)
    some = [
        facts
        for facts, subject in zip(evidence.facts, evidence.subjects, strict=True)
        if facts.decomposed
        and not float(limits.tiny) <= np.abs(subject.entries).max() <= float(limits.max)
        and subject.entries.any()
    ]
    if some:
        yield Finding(
            Severity.FAILS,
            f"M does not fit into {PRECISIONS[0]}",
            f"{labels(some, evidence.total)}: the largest entry is not between {limits.tiny:.1e} "
            f"and {limits.max:.1e}.",
            "In float32 it is infinite, or zero.",
            "Scale what M is computed from, or stay in float64.",
        )
