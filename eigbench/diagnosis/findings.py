"""What was found on the matrices; the words are in `templates/findings.md.j2`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from typing import Any

import numpy as np

from eigbench.data.matrices import SYMMETRY_TOLERANCE
from eigbench.diagnosis import page
from eigbench.diagnosis.facts import PRECISIONS, Facts, epsilon
from eigbench.diagnosis.matrices import GivenMatrix
from eigbench.diagnosis.page import off
from eigbench.diagnosis.trials import (
    FUNCTIONS_OF_M,
    USES,
    Attempt,
    GradientOutcome,
    MatrixMeasurement,
    own_vectors,
)
from eigbench.report.render import both

TORCH = "eigh"
"""The method that is `torch.linalg.eigh`."""
NAMED = 3
"""The largest number of matrices that are named one by one."""
FEW_DIGITS = 1e-2
"""From this relative rounding error on an eigenvalue counts as lost."""
GAUGE_ROUNDING = 100
"""Up to this number of rounding errors `VᵀdL/dV` counts as symmetric."""
FLOAT32 = np.finfo(np.float32)


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


_KINDS = {
    Severity.FAILS: ("upstream_not_finite", "basis_matters", "not_finite", "out_of_range", "fails"),
    Severity.WRONG: ("asymmetric", "wrong"),
    Severity.BEWARE: ("half", "singular", "ill_conditioned", "right_by_chance"),
    Severity.NOTE: (
        "saved",
        "basis_irrelevant",
        "one_by_one",
        "indefinite",
        "finite_is_not_right",
    ),
    Severity.WELL: ("right",),
}
SEVERITY = {kind: severity for severity, kinds in _KINDS.items() for kind in kinds}
"""Every kind of finding: a block of the template."""
SEVERITIES = {
    GradientOutcome.NAN: Severity.FAILS,
    GradientOutcome.INFINITE: Severity.FAILS,
    GradientOutcome.RAISED: Severity.FAILS,
    GradientOutcome.WRONG: Severity.WRONG,
    GradientOutcome.RIGHT: Severity.WELL,
}
"""Of what can be judged; other outcomes say nothing."""


@dataclass(frozen=True)
class MatrixFinding:
    """One thing to know about a matrix, for somebody who has never met it."""

    kind: str
    """A key of `SEVERITY`."""
    severity: Severity
    title: str
    """Plain text."""
    text: str
    """Markdown: what was found, what it means, what to change, and lines to paste."""


def finding(kind: str, **values: Any) -> MatrixFinding:
    """The finding of this kind, with these values in its words."""
    title, _, text = page.render("findings", kind, **values).partition("\n\n")
    return MatrixFinding(kind, SEVERITY[kind], page.one_line(title), text)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that findings are drawn from."""

    matrices: tuple[GivenMatrix, ...]
    facts: tuple[Facts, ...]
    """Those of each matrix."""
    measured: tuple[MatrixMeasurement, ...]
    """Those of the worst finite matrices, the worst first."""

    @property
    def precision(self) -> str:
        """The precision that the user works in: that of the matrices, or float32."""
        dtype = self.facts[0].dtype
        return dtype if dtype in PRECISIONS else PRECISIONS[0]

    def about(self, some: Sequence[Facts], worst: Facts) -> dict[str, Any]:
        """What every finding on some matrices says: which they are, and which is the worst.

        Such as "`M`", or "12 of 64 matrices (`M[0]`, `M[4]`, `M[7]`, …)".
        """
        named = ", ".join(page.code(facts.label) for facts in some[:NAMED])
        labels = whose = named
        if len(some) > 1:
            more = ", …" if len(some) > NAMED else ""
            labels = f"{len(some)} of {len(self.facts)} matrices ({named}{more})"
            whose = f"{labels}; the worst, {page.code(worst.label)}"
        about = {"labels": labels, "whose": whose, "worst": worst, "precision": self.precision}
        return {**about, "epsilon": epsilon, "limits": FLOAT32, "tolerance": SYMMETRY_TOLERANCE}


def findings_of(evidence: Evidence) -> tuple[MatrixFinding, ...]:
    """All findings, the worst first."""
    topics = (_saved, _upstream, _gauge, _matrices, _torch, _others)
    found = chain.from_iterable(topic(evidence) for topic in topics)
    return tuple(sorted(found, key=lambda finding: finding.severity))


def _saved(evidence: Evidence) -> Iterator[MatrixFinding]:
    for matrix in evidence.matrices:
        if matrix.origin is not None:
            yield finding("saved", origin=matrix.origin, gram=matrix.gram)


def _upstream(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Whether what reached the decomposition from the loss was finite; the first that was not."""
    for matrix in evidence.matrices:
        given = matrix.upstream.given()
        bad = [name for name, gradient in given.items() if not np.isfinite(gradient).all()]
        if bad:
            yield finding("upstream_not_finite", label=matrix.label, bad=bad)
            return


def _gauge(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Whether the loss depends on which eigenvectors a tie happens to have."""
    for measured in evidence.measured:
        share = _dependence_on_basis(measured, evidence.precision)
        if share is None:
            continue
        rounding = share <= GAUGE_ROUNDING * epsilon(evidence.precision)
        kind = "basis_irrelevant" if rounding else "basis_matters"
        yield finding(kind, label=measured.facts.label, share=share)
        return


def _dependence_on_basis(measured: MatrixMeasurement, precision: str) -> float | None:
    """The loss's derivative by rotations within ties, by the largest entry of `Vᵀ ∂L/∂V`.

    None where no eigenvalues tie, or without a finite gradient by eigenvectors.
    """
    upstream, facts = measured.matrix.upstream, measured.facts
    if upstream.by_eigenvectors is None or not upstream.finite:
        return None
    A = own_vectors(measured.matrix).T @ upstream.by_eigenvectors
    tied = np.abs(np.subtract.outer(facts.eigenvalues, facts.eigenvalues)) <= facts.floor(precision)
    np.fill_diagonal(tied, val=False)
    if not tied.any():
        return None
    return float(np.abs(np.where(tied, A - A.T, 0)).max() / (np.abs(A).max() or 1))


def _negative(facts: Facts, precision: str) -> float:
    """How far the smallest eigenvalue is below 0, by ‖M‖; 0 where that is rounding."""
    if not facts.decomposed or facts.eigenvalues[0] >= -facts.floor(precision):
        return 0.0
    return float(-facts.eigenvalues[0] / facts.largest)


def _missing_rank(facts: Facts, precision: str) -> float:
    if not facts.decomposed or _negative(facts, precision):
        return 0.0
    return 1 - facts.rank(precision) / facts.n


def _ill_conditioned(facts: Facts, precision: str) -> float:
    if _negative(facts, precision) or _missing_rank(facts, precision):
        return 0.0
    few = facts.decomposed and facts.condition * epsilon(precision) > FEW_DIGITS
    return facts.condition if few else 0.0


def _out_of_range(facts: Facts, _precision: str) -> float:
    largest = facts.largest_entry
    return float(largest > 0 and not float(FLOAT32.tiny) <= largest <= float(FLOAT32.max))


_BADNESS: dict[str, Callable[[Facts, str], float]] = {
    "not_finite": lambda facts, _: float(facts.not_finite > 0),
    "asymmetric": lambda facts, _: facts.asymmetry * (facts.asymmetry > SYMMETRY_TOLERANCE),
    "half": lambda facts, _: float(facts.dtype in {"float16", "bfloat16"}),
    "out_of_range": _out_of_range,
    "one_by_one": lambda facts, _: float(facts.n == 1),
    "indefinite": _negative,
    "singular": _missing_rank,
    "ill_conditioned": _ill_conditioned,
}
"""How bad a matrix is in each respect, in the user's precision: above 0 it is a finding."""


def _matrices(evidence: Evidence) -> Iterator[MatrixFinding]:
    """What the matrices are, before anything is differentiated."""
    for kind, badness in _BADNESS.items():
        bad = {facts: badness(facts, evidence.precision) for facts in evidence.facts}
        some = [facts for facts in evidence.facts if bad[facts] > 0]
        if some:
            yield finding(kind, **evidence.about(some, max(some, key=lambda one: bad[one])))


def severity_of_torch(measured: MatrixMeasurement, precision: str) -> Severity | None:
    """The worst that `torch.linalg.eigh` does to any use of this matrix; None if nothing shows."""
    outcomes = [attempt.outcome for attempt in measured.of(TORCH, precision)]
    return min((SEVERITIES[kind] for kind in outcomes if kind in SEVERITIES), default=None)


def _torch(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The backward pass of `torch.linalg.eigh`, as it was measured."""
    precision = evidence.precision
    severities = []
    for one in evidence.measured:
        severity = severity_of_torch(one, precision)
        by_chance = severity is Severity.WELL and one.facts.tied(precision)
        severities.append(Severity.BEWARE if by_chance else severity)
    for kind in ("fails", "wrong", "right_by_chance", "right"):
        pairs = zip(evidence.measured, severities, strict=True)
        some = [one for one, severity in pairs if severity is SEVERITY[kind]]
        if not some:
            continue
        attempts = some[0].of(TORCH, precision)
        failed = [one for one in attempts if SEVERITIES.get(one.outcome) is Severity.FAILS]
        right_in_float64 = severity_of_torch(some[0], "float64") is Severity.WELL
        yield finding(
            kind,
            **evidence.about([one.facts for one in some], some[0].facts),
            partly=len(evidence.facts) > len(evidence.measured),
            outcomes=_outcomes(some[0]),
            kinds=list(dict.fromkeys(attempt.outcome.value for attempt in failed)),
            raised=next((one.reason for one in failed if one.reason), ""),
            right_in_float64=precision != "float64" and right_in_float64,
            of_function=any(
                attempt.use in FUNCTIONS_OF_M and attempt.outcome is GradientOutcome.WRONG
                for attempt in attempts
            ),
        )


def _outcomes(measured: MatrixMeasurement) -> str:
    """What `torch.linalg.eigh` did to one matrix, precision by precision."""
    said = {p: _in_words(measured.of(TORCH, p)) for p in PRECISIONS}
    if len(set(said.values())) == 1:
        return f"{said[PRECISIONS[0]]} in {both(PRECISIONS)}"
    return "; ".join(f"in {precision} {words}" for precision, words in said.items())


def _in_words(attempts: Sequence[Attempt]) -> str:
    """Such as "NaN for M^(−1/2) and 3 % off for the leading subspace"."""
    judged = [attempt for attempt in attempts if attempt.outcome in SEVERITIES]
    bad = [
        f"{off(one.error)} off for {USES[one.use].noun}"
        if one.outcome is GradientOutcome.WRONG
        else f"{one.outcome.value} for {USES[one.use].noun}"
        for one in judged
        if one.outcome is not GradientOutcome.RIGHT
    ]
    if bad:
        return both(bad)
    most = max((one.error for one in judged), default=None)
    return "not applicable" if most is None else f"right, off by at most {off(most)}"


def _others(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Methods whose gradient is finite at a tie or a small gap, and not the true one."""
    precision, worst = evidence.precision, next(iter(evidence.measured), None)
    bad = {Severity.FAILS, Severity.WRONG}
    if worst is None or severity_of_torch(worst, precision) not in bad:
        return
    use = worst.uses[0].name
    attempts = [worst.attempt(method, use, precision) for method in worst.methods]
    wrong = [one for one in attempts if one.outcome is GradientOutcome.WRONG]
    wrong = [one for one in wrong if one.method != TORCH]
    if wrong:
        yield finding(
            "finite_is_not_right",
            label=worst.facts.label,
            noun=USES[use].noun,
            precision=precision,
            wrong=len(wrong),
            methods=len(attempts),
            least=min(wrong, key=lambda attempt: attempt.error),
            most=max(wrong, key=lambda attempt: attempt.error),
        )
