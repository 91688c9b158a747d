"""What to call for each use: the simplest method that was right on these very matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eigbench.diagnosis.facts import PRECISIONS
from eigbench.diagnosis.findings import TORCH, Evidence
from eigbench.diagnosis.page import code, off, plain
from eigbench.diagnosis.trials import YOURS, Attempt, GradientOutcome, MatrixMeasurement
from eigbench.report.render import both

PREFERRED = {
    "whitening": ("spectral",),
    "reconstruction": ("spectral",),
    "subspace": ("spectral", "subspace", TORCH),
    "eigenvector": (TORCH, "implicit"),
    "closing-eigenvector": (TORCH,),
    YOURS: (TORCH, "implicit"),
}
"""The methods whose theory gives the gradient of this use, the simplest first; others come after.

For functions of M and for subspaces `torch.linalg.eigh` is not the first, even where it is right on
this matrix: a tie at the next step is enough to end that.
"""


@dataclass(frozen=True)
class Recommendation:
    """What to call for one use."""

    use: str
    method: str
    """Empty if there is nothing to recommend."""
    precision: str
    why: str
    """Markdown."""
    code: str = ""
    """Lines to paste."""


def recommendations(evidence: Evidence) -> tuple[Recommendation, ...]:
    """One for each use that any of the measured matrices has."""
    names = dict.fromkeys(use.name for one in evidence.measured for use in one.uses)
    return tuple(_recommended(name, evidence) for name in names)


def _recommended(name: str, evidence: Evidence) -> Recommendation:
    uses = [use for one in evidence.measured for use in one.uses if use.name == name]
    if all(use.exact is None for use in uses):
        reason = uses[0].reason
        why = f"{plain(reason[:1].upper() + reason[1:])}."
        return Recommendation(name, "", evidence.precision, why)
    having = [one for one in evidence.measured if one.has(name)]
    methods = having[0].methods
    order = dict.fromkeys([*(one for one in PREFERRED[name] if one in methods), *methods])
    for precision in dict.fromkeys((evidence.precision, PRECISIONS[1])):
        for method in order:
            judged = _judged(having, method, name, precision)
            if not judged or any(one.outcome is not GradientOutcome.RIGHT for one in judged):
                continue
            most = off(max(one.error for one in judged))
            where = code(having[0].facts.label) if len(having) == 1 else f"{len(having)} matrices"
            beside = _beside(method, _judged(having, TORCH, name, precision))
            why = f"Off by at most {most} in {precision}, measured on {where}. {beside}"
            return Recommendation(
                name, method, precision, why, _lines(name, method, precision, having[0])
            )
    return Recommendation(name, "", evidence.precision, "None was right on what was measured.")


def _judged(
    having: Sequence[MatrixMeasurement], method: str, use: str, precision: str
) -> list[Attempt]:
    """The attempts of a method on a use wherever it could be compared with the exact gradient."""
    attempts = [one.attempt(method, use, precision) for one in having]
    return [attempt for attempt in attempts if attempt.outcome is not GradientOutcome.UNKNOWN]


def _beside(method: str, torch: Sequence[Attempt]) -> str:
    """What `torch.linalg.eigh` does in the place of the recommended method."""
    if method == TORCH:
        return "The gaps that count are wide enough."
    bad = [attempt for attempt in torch if attempt.outcome is not GradientOutcome.RIGHT]
    if not bad:
        return f"`{TORCH}` is right here too, until eigenvalues tie."
    outcomes = dict.fromkeys(
        f"off by {off(one.error)}" if one.outcome is GradientOutcome.WRONG else one.outcome.value
        for one in bad
    )
    return f"`{TORCH}`: {both(outcomes)}."


def _lines(use: str, method: str, precision: str, measured: MatrixMeasurement) -> str:
    """Lines to paste."""
    double = precision == "float64" and measured.facts.dtype != "float64"
    M = "M.double()" if double else "M"
    option = "" if method == "spectral" else f', method="{method}"'
    if use == "whitening":
        return f'S = eigbench.matrix_function({M}, "inverse-square-root"{option})'
    if method == TORCH:
        return f"values, V = torch.linalg.eigh({M})"
    if use == "subspace" and method == "spectral":
        n, leading = measured.facts.n, np.count_nonzero(measured.use(use).touched)
        return (
            "from eigbench.methods.functions import Projector\n"
            f"leading = (torch.arange({n}) >= {n - leading}).float()  # the last {leading}\n"
            f"P = eigbench.matrix_function({M}, Projector(leading))"
        )
    if use == "reconstruction":
        return f'eigbench.matrix_function({M}, f, method="{method}")  # f: a SpectralFunction'
    return f'values, V = eigbench.eigh({M}, method="{method}")'
