"""Findings about size and sign of the eigenvalues: rank, condition, indefiniteness."""

from __future__ import annotations

from collections.abc import Iterator

from eigbench.diagnosis.facts import Facts, epsilon
from eigbench.diagnosis.findings import Evidence, Finding, Severity
from eigbench.diagnosis.writing import number, whose
from eigbench.report.markdown import percent

EPSILON_SHARE = 1e-4
"""The ε that is proposed, by the mean eigenvalue: the paper's ε for channels of variance 1."""
FEW_DIGITS = 1e-2
"""From this relative rounding error on an eigenvalue counts as lost."""


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What the magnitudes of the eigenvalues show."""
    precision = evidence.precision
    decomposed = [facts for facts in evidence.facts if facts.decomposed]
    negative = [facts for facts in decomposed if facts.eigenvalues[0] < -facts.floor(precision)]
    rest = [facts for facts in decomposed if facts not in negative]
    singular = [facts for facts in rest if facts.rank(precision) < facts.n]
    ill = [
        facts
        for facts in rest
        if facts not in singular and facts.condition * epsilon(precision) > FEW_DIGITS
    ]
    if negative:
        yield _indefinite(evidence, negative)
    if singular:
        yield _singular(evidence, singular)
    if ill:
        yield _ill_conditioned(evidence, ill)


def _indefinite(evidence: Evidence, some: list[Facts]) -> Finding:
    worst = min(some, key=lambda facts: facts.eigenvalues[0] / facts.largest)
    return Finding(
        Severity.NOTE,
        "M has negative eigenvalues",
        f"{whose(some, worst, evidence.total)}: the least eigenvalue is "
        f"{worst.eigenvalues[0]:.2g}, where ‖M‖ is {number(worst.largest)}.",
        "That is more than rounding: M is not a covariance. M^(−1/2), and methods that expect a "
        "covariance, do not apply to it; eigenvectors and subspaces do.",
        "If it should be a covariance, look for the sign or the scale that went wrong.",
    )


def _singular(evidence: Evidence, some: list[Facts]) -> Finding:
    precision = evidence.precision
    worst = min(some, key=lambda facts: facts.rank(precision) / facts.n)
    lost = worst.n - worst.rank(precision)
    tied = (
        f" {lost} eigenvalues are zero to rounding, and so tied with each other."
        if lost > 1
        else ""
    )
    mean = float(worst.eigenvalues.mean())
    return Finding(
        Severity.BEWARE,
        "M does not have full rank",
        f"{whose(some, worst, evidence.total)}: rank {worst.rank(precision)} of {worst.n} in "
        f"{precision}.{tied}",
        "M^(−1/2) does not exist, or is made of rounding errors: an eigenvalue that should be zero "
        "comes out a little above or below, and its root is huge or NaN. Dead channels, channels "
        "that repeat, or fewer samples than channels do this.",
        "Add ε to the diagonal for M^(−1/2), and use `spectral`, since the zeros stay tied. Or "
        "take smaller groups of channels, or more samples.",
        f"M = M + {number(EPSILON_SHARE * mean)} * torch.eye({worst.n}, dtype=M.dtype)\n"
        'S = eigbench.matrix_function(M, "inverse-square-root")'
        if mean > 0
        else "",
    )


def _ill_conditioned(evidence: Evidence, some: list[Facts]) -> Finding:
    precision = evidence.precision
    worst = max(some, key=lambda facts: facts.condition)
    return Finding(
        Severity.BEWARE,
        f"The smallest eigenvalue has few digits in {precision}",
        f"{whose(some, worst, evidence.total)}: the condition number is "
        f"{number(worst.condition)}; times ε = {number(epsilon(precision))} the smallest "
        f"eigenvalue is known to {percent(min(1.0, worst.condition * epsilon(precision)))}.",
        "M^(−1/2) and its gradient are dominated by that eigenvalue, and so by its rounding error.",
        "Decompose in float64, or add ε to the diagonal.",
        'S = eigbench.matrix_function(M.double(), "inverse-square-root").to(M.dtype)',
    )
