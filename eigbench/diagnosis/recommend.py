"""Which method for which use: the simplest one that was right on these very matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from eigbench.diagnosis.backward import DOUBLE, OF_M, TORCH
from eigbench.diagnosis.facts import PRECISIONS
from eigbench.diagnosis.findings import Evidence
from eigbench.diagnosis.trials import Measured, Outcome
from eigbench.diagnosis.uses import YOURS, FunctionLoss
from eigbench.diagnosis.writing import listed, off

PREFERRED = {
    "whitening": ("spectral",),
    "reconstruction": ("spectral",),
    "subspace": ("spectral", "subspace", TORCH),
    "eigenvector": (TORCH, "implicit"),
    "closing-eigenvector": (TORCH,),
    YOURS: (TORCH, "implicit"),
}
"""Whose gradient is that of this use by its theory, the simplest first; all others come after.

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
    code: str = ""


def recommendations(evidence: Evidence) -> tuple[Recommendation, ...]:
    """One for each use that any of the measured matrices has."""
    names = dict.fromkeys(use.name for one in evidence.measured for use in one.uses)
    return tuple(_recommend(name, evidence) for name in names)


def _recommend(name: str, evidence: Evidence) -> Recommendation:
    having = [
        one for one in evidence.measured if any(use.name == name and use.loss for use in one.uses)
    ]
    without = next(use for one in evidence.measured for use in one.uses if use.name == name)
    if not having:
        return Recommendation(name, "", evidence.precision, _sentence(without.reason))
    if all(use.exact is None for one in having for use in one.uses if use.name == name):
        return Recommendation(name, "", evidence.precision, _sentence(without.reason))
    order = _order(name, having[0].methods)
    for precision in dict.fromkeys((evidence.precision, PRECISIONS[1])):
        for method in order:
            errors = _errors(having, method, name, precision)
            if errors is not None:
                why = _why(having, name, method, precision, errors)
                return Recommendation(
                    name, method, precision, why, _code(name, method, precision, having[0])
                )
    return Recommendation(name, "", evidence.precision, "None was right on what was measured.")


def _order(name: str, methods: Sequence[str]) -> Iterable[str]:
    preferred = [method for method in PREFERRED[name] if method in methods]
    return dict.fromkeys([*preferred, *methods])


def _errors(
    having: Sequence[Measured], method: str, use: str, precision: str
) -> list[float] | None:
    """The errors of a method that was right wherever there is a truth; None if it was not."""
    trials = [one.trial(method, use, precision) for one in having]
    judged = [trial for trial in trials if trial.outcome is not Outcome.UNKNOWN]
    if not judged or any(trial.outcome is not Outcome.RIGHT for trial in judged):
        return None
    return [trial.error for trial in judged]


def _why(
    having: Sequence[Measured], use: str, method: str, precision: str, errors: list[float]
) -> str:
    where = having[0].facts.label if len(having) == 1 else f"{len(having)} matrices"
    said = f"Off by at most {off(max(errors))} in {precision}, measured on {where}."
    if method == TORCH:
        return f"{said} The gaps that count are wide enough."
    trials = [one.trial(TORCH, use, precision) for one in having]
    bad = [t for t in trials if t.outcome not in {Outcome.RIGHT, Outcome.UNKNOWN}]
    if bad:
        kinds = listed(
            list(
                dict.fromkeys(
                    f"off by {off(t.error)}" if t.outcome is Outcome.WRONG else t.outcome.value
                    for t in bad
                )
            )
        )
        return f"{said} `{TORCH}`: {kinds}."
    return f"{said} There `{TORCH}` is right too, until eigenvalues tie."


def _code(use: str, method: str, precision: str, measured: Measured) -> str:
    """A line to paste."""
    double = precision == PRECISIONS[1] and measured.facts.dtype != PRECISIONS[1]
    M = "M.double()" if double else "M"
    if use == "whitening":
        call = OF_M if method == "spectral" else OF_M.replace(")", f', method="{method}")')
        return f"S = {call.replace('M,', f'{M},')}"
    if method == TORCH:
        return DOUBLE if double else "values, V = torch.linalg.eigh(M)"
    if use == "subspace" and method == "spectral":
        leading = _leading(measured)
        n = measured.facts.n
        return (
            "from eigbench.methods.functions import Projector\n"
            f"leading = (torch.arange({n}) >= {n - leading}).float()  # the last {leading}\n"
            f"P = eigbench.matrix_function({M}, Projector(leading))"
        )
    if use == "reconstruction":
        return f'eigbench.matrix_function({M}, f, method="{method}")  # f: a SpectralFunction'
    return f'values, V = eigbench.eigh({M}, method="{method}")'


def _leading(measured: Measured) -> int:
    """How many eigenvectors the measured subspace has."""
    loss = next(use.loss for use in measured.uses if use.name == "subspace")
    if not isinstance(loss, FunctionLoss):
        raise TypeError("a subspace is a function of M")
    return int(np.sum(loss.function.values(measured.facts.eigenvalues)))


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
