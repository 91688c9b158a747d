"""What was found on the matrices; the words are in `templates/findings.md.j2`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from eigbench.data.matrices import SYMMETRY_TOLERANCE
from eigbench.diagnosis import page
from eigbench.diagnosis.facts import PRECISIONS, Facts, epsilon
from eigbench.diagnosis.inputs import GivenMatrix
from eigbench.diagnosis.page import listed, off
from eigbench.diagnosis.trials import (
    FUNCTIONS_OF_M,
    USES,
    Attempt,
    GradientOutcome,
    MatrixMeasurement,
    own_vectors,
)

TORCH = "eigh"
"""The method that is `torch.linalg.eigh`."""
NAMED = 3
"""The largest number of matrices that are named one by one."""
EPSILON_SHARE = 1e-4
"""The ε that is proposed, by the mean eigenvalue: the paper's ε for channels of variance 1."""
FEW_DIGITS = 1e-2
"""From this relative rounding error on an eigenvalue counts as lost."""
GAUGE_ROUNDING = 100
"""Up to this number of rounding errors `VᵀdL/dV` counts as symmetric."""


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
    """Its name in `templates/findings.md.j2`."""
    severity: Severity
    title: str
    """Plain text."""
    text: str
    """Markdown: what was found, what it means, what to change, and lines to paste."""


def finding(severity: Severity, kind: str, **values: Any) -> MatrixFinding:
    """The finding whose words are the block `kind` of the template."""
    title, _, text = page.render("findings", kind, **values).partition("\n\n")
    return MatrixFinding(kind, severity, page.one_line(title), text.strip())


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

    def labels(self, some: Sequence[Facts]) -> str:
        """Which matrices these are: "`M`", or "12 of 64 matrices (`M[0]`, `M[4]`, `M[7]`, …)"."""
        if len(some) == 1:
            return page.code(some[0].label)
        named = ", ".join(page.code(facts.label) for facts in some[:NAMED])
        more = ", …" if len(some) > NAMED else ""
        return f"{len(some)} of {len(self.facts)} matrices ({named}{more})"

    def about(self, some: Sequence[Facts], worst: Facts) -> dict[str, Any]:
        """What every finding on some matrices says: which they are, and which is the worst."""
        labels = self.labels(some)
        whose = labels if len(some) == 1 else f"{labels}; the worst, {page.code(worst.label)}"
        return {"labels": labels, "whose": whose, "worst": worst, "precision": self.precision}


def findings_of(evidence: Evidence) -> tuple[MatrixFinding, ...]:
    """All findings, the worst first."""
    topics = (_upstream, _gauge, _entries, _precisions, _torch, _others, _magnitudes)
    found = [finding for topic in topics for finding in topic(evidence)]
    return tuple(sorted(found, key=lambda finding: finding.severity))


def _upstream(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The call that `watch` saved, and what reached the decomposition from the loss."""
    for matrix in evidence.matrices:
        if matrix.origin is not None:
            yield finding(Severity.NOTE, "saved", origin=matrix.origin, gram=matrix.gram)
    for matrix in evidence.matrices:
        given = matrix.upstream.given()
        bad = [name for name, gradient in given.items() if not np.isfinite(gradient).all()]
        if bad:
            yield finding(Severity.FAILS, "upstream_not_finite", label=matrix.label, bad=bad)
            return


def _gauge(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Whether the loss depends on which eigenvectors a tie happens to have."""
    for measured in evidence.measured:
        share = _dependence_on_basis(measured, evidence.precision)
        if share is None:
            continue
        label = measured.facts.label
        if share <= GAUGE_ROUNDING * epsilon(evidence.precision):
            yield finding(Severity.NOTE, "basis_irrelevant", label=label, share=share)
        else:
            yield finding(Severity.FAILS, "basis_matters", label=label, share=share)
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


def _entries(evidence: Evidence) -> Iterator[MatrixFinding]:
    if some := [facts for facts in evidence.facts if facts.not_finite]:
        yield finding(Severity.FAILS, "not_finite", **evidence.about(some, some[0]))
    if some := [facts for facts in evidence.facts if facts.asymmetry > SYMMETRY_TOLERANCE]:
        about = evidence.about(some, max(some, key=lambda facts: facts.asymmetry))
        yield finding(Severity.WRONG, "asymmetric", **about, tolerance=SYMMETRY_TOLERANCE)


def _precisions(evidence: Evidence) -> Iterator[MatrixFinding]:
    if some := [facts for facts in evidence.facts if facts.dtype in {"float16", "bfloat16"}]:
        about = evidence.about(some, some[0])
        yield finding(Severity.BEWARE, "half", **about, rounding=epsilon(some[0].dtype))
    limits = np.finfo(np.float32)
    some = [
        facts
        for facts, matrix in zip(evidence.facts, evidence.matrices, strict=True)
        if facts.decomposed
        and not float(limits.tiny) <= np.abs(matrix.entries).max() <= float(limits.max)
        and matrix.entries.any()
    ]
    if some:
        yield finding(
            Severity.FAILS, "out_of_range", **evidence.about(some, some[0]), limits=limits
        )


def severity_of_torch(measured: MatrixMeasurement, precision: str) -> Severity | None:
    """The worst that `torch.linalg.eigh` does to any use of this matrix; None if nothing shows."""
    outcomes = [attempt.outcome for attempt in measured.of(TORCH, precision)]
    return min((SEVERITIES[kind] for kind in outcomes if kind in SEVERITIES), default=None)


def _torch(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The backward pass of `torch.linalg.eigh`, as it was measured."""
    precision = evidence.precision
    groups: dict[str, list[MatrixMeasurement]] = {}
    for one in evidence.measured:
        severity = severity_of_torch(one, precision)
        if severity is Severity.WELL and one.facts.tied(precision):
            severity = Severity.BEWARE
        if severity is not None:
            groups.setdefault(severity.name, []).append(one)
    if failing := groups.get("FAILS"):
        attempts = failing[0].of(TORCH, precision)
        failed = [one for one in attempts if SEVERITIES.get(one.outcome) is Severity.FAILS]
        yield finding(
            Severity.FAILS,
            "fails",
            **_about_measured(evidence, failing),
            kinds=list(dict.fromkeys(attempt.outcome.value for attempt in failed)),
            raised=next((one.reason for one in failed if one.reason), ""),
        )
    if wrong := groups.get("WRONG"):
        first = wrong[0]
        right_in_float64 = severity_of_torch(first, "float64") is Severity.WELL
        yield finding(
            Severity.WRONG,
            "wrong",
            **_about_measured(evidence, wrong),
            rounding=epsilon(precision) * first.facts.largest,
            right_in_float64=precision != "float64" and right_in_float64,
            of_function=any(
                attempt.use in FUNCTIONS_OF_M and attempt.outcome is GradientOutcome.WRONG
                for attempt in first.of(TORCH, precision)
            ),
        )
    for severity, kind in ((Severity.BEWARE, "right_by_chance"), (Severity.WELL, "right")):
        if some := groups.get(severity.name):
            yield finding(severity, kind, **_about_measured(evidence, some))


def _others(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Methods whose gradient is finite at a tie or a small gap, and not the true one."""
    precision = evidence.precision
    for one in evidence.measured[:1]:
        if severity_of_torch(one, precision) not in {Severity.FAILS, Severity.WRONG}:
            return
        use = one.uses[0].name
        attempts = [one.attempt(method, use, precision) for method in one.methods]
        wrong = [
            attempt
            for attempt in attempts
            if attempt.method != TORCH and attempt.outcome is GradientOutcome.WRONG
        ]
        if wrong:
            yield finding(
                Severity.NOTE,
                "finite_is_not_right",
                label=one.facts.label,
                noun=USES[use].noun,
                precision=precision,
                wrong=len(wrong),
                methods=len(attempts),
                least=min(wrong, key=lambda attempt: attempt.error),
                most=max(wrong, key=lambda attempt: attempt.error),
            )


def _about_measured(evidence: Evidence, some: Sequence[MatrixMeasurement]) -> dict[str, Any]:
    """Whose matrices these are, and what `torch.linalg.eigh` did on the first, the worst."""
    said = {precision: _in_words(some[0].of(TORCH, precision)) for precision in PRECISIONS}
    if len(set(said.values())) == 1:
        outcomes = f"{said[PRECISIONS[0]]} in {listed(PRECISIONS)}"
    else:
        outcomes = "; ".join(f"in {precision} {words}" for precision, words in said.items())
    partly = len(evidence.facts) > len(evidence.measured)
    about = evidence.about([one.facts for one in some], some[0].facts)
    return {**about, "partly": partly, "outcomes": outcomes}


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
        return listed(bad)
    most = max((one.error for one in judged), default=None)
    return "not applicable" if most is None else f"right, off by at most {off(most)}"


def _magnitudes(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Size and sign of the eigenvalues."""
    if some := [facts for facts in evidence.facts if facts.n == 1]:
        yield finding(Severity.NOTE, "one_by_one", **evidence.about(some, some[0]))
    precision, rounding = evidence.precision, epsilon(evidence.precision)
    decomposed = [facts for facts in evidence.facts if facts.decomposed]
    negative = [facts for facts in decomposed if facts.eigenvalues[0] < -facts.floor(precision)]
    rest = [facts for facts in decomposed if facts not in negative]
    singular = [facts for facts in rest if facts.rank(precision) < facts.n]
    ill = [f for f in rest if f not in singular and f.condition * rounding > FEW_DIGITS]
    if negative:
        worst = min(negative, key=lambda facts: facts.eigenvalues[0] / facts.largest)
        yield finding(Severity.NOTE, "indefinite", **evidence.about(negative, worst))
    if singular:
        worst = min(singular, key=lambda facts: facts.rank(precision) / facts.n)
        about = evidence.about(singular, worst)
        added = EPSILON_SHARE * float(worst.eigenvalues.mean())
        rank = worst.rank(precision)
        yield finding(Severity.BEWARE, "singular", **about, rank=rank, added=added)
    if ill:
        worst = max(ill, key=lambda facts: facts.condition)
        about = evidence.about(ill, worst)
        known = min(1.0, worst.condition * rounding)
        yield finding(Severity.BEWARE, "ill_conditioned", **about, epsilon=rounding, known=known)
