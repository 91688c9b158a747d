"""`eigbench.diagnose`: from matrices to an answer, and the answer as a page of Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eigbench.diagnosis import page, saved
from eigbench.diagnosis.advice import Recommendation, recommendations
from eigbench.diagnosis.facts import PRECISIONS, Facts, epsilon, facts_of
from eigbench.diagnosis.findings import Evidence, MatrixFinding, Severity, findings_of
from eigbench.diagnosis.inputs import GivenMatrix, from_file, from_value
from eigbench.diagnosis.interception import unobserved
from eigbench.diagnosis.page import number
from eigbench.diagnosis.trials import (
    USES,
    Attempt,
    GradientOutcome,
    MatrixMeasurement,
    measure,
)
from eigbench.errors import InputError
from eigbench.report.frame import RIGHT
from eigbench.report.numbers import NOTHING, percent, scientific
from eigbench.runs.store import REPORT, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = 4
"""The largest number of matrices that are differentiated, shown in a table and drawn."""
LARGE = 256
"""If a matrix is larger than this, only one is differentiated."""
PICTURE = "figures/spectrum.png"
MARKS = dict(zip(Severity, "✗✗!·✓", strict=True))


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found. `print` it, or let a notebook show it; the facts are attributes."""

    source: str
    """What was diagnosed, the name of a file or M; Markdown."""
    evidence: Evidence
    findings: tuple[MatrixFinding, ...]
    """The worst first."""
    recommendations: tuple[Recommendation, ...]

    @property
    def facts(self) -> tuple[Facts, ...]:
        """The facts of each matrix."""
        return self.evidence.facts

    @property
    def measured(self) -> tuple[MatrixMeasurement, ...]:
        """What every method gave on the worst matrices, the worst first."""
        return self.evidence.measured

    @property
    def verdict(self) -> str:
        """The worst finding in one line."""
        return self.findings[0].title if self.findings else "nothing to say"

    def plot(self) -> Figure:
        """A matplotlib figure of the worst spectra, the closest pair marked."""
        from eigbench.diagnosis.picture import draw  # late: matplotlib

        return draw(self._shown())

    def to_markdown(self, picture: str = "") -> str:
        """The whole diagnosis; with the link `picture` to what `plot` draws, if there is one."""
        return "\n".join([self._answer(picture), *map(_methods, self.measured)])

    def write(self, folder: Path, preface: str = "") -> Path:
        """Write `report.md` and its picture into a folder; returns the report's path.

        `preface` is Markdown that comes before the diagnosis.
        """
        picture, report = folder / PICTURE, folder / REPORT
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_whole(picture, self._png())
        write_whole(report, f"{preface}{self.to_markdown(PICTURE)}".encode())
        return report

    def brief(self) -> str:
        """As Markdown without picture, every method on the worst matrix only."""
        return "\n".join([self._answer(""), *map(_methods, self.measured[:1])])

    def __str__(self) -> str:
        return page.to_text(self.brief())

    def _repr_html_(self) -> str:
        link = f"data:image/png;base64,{base64.b64encode(self._png()).decode()}"
        folded = "".join(map(_methods, self.measured[:1]))
        return page.to_html(self._answer(link), folded, "Every method")

    def _png(self) -> bytes:
        from eigbench.diagnosis.picture import to_png  # late: matplotlib

        return to_png(self.plot())

    def _shown(self) -> list[Facts]:
        """The facts that have a place in the table and the picture: the worst matrices."""
        by_gap = sorted(self.facts, key=lambda facts: facts.smallest_share)
        return list(dict.fromkeys([*(one.facts for one in self.measured), *by_gap]))[:WORST]

    def _answer(self, picture: str) -> str:
        """All but the tables of methods."""
        shown = self._shown()
        headers = ["", *(page.code(facts.label) for facts in shown)]
        rows = [(name, *map(cell, shown)) for name, cell in _FACTS.items()]
        return page.render(
            "diagnosis",
            source=self.source,
            findings=self.findings,
            marks=MARKS,
            advice=self.recommendations,
            uses=USES,
            spectrum=page.table(headers, rows),
            shown=len(shown),
            total=len(self.facts),
            measured=[page.code(one.facts.label) for one in self.measured],
            decomposed=any(facts.decomposed for facts in shown),
            picture=picture,
        )


def diagnose(M: Any, gradients: Any = None) -> Diagnosis:
    """Say what is wrong, or right, with differentiating through the eigenpairs of `M`.

    Every method is run on the worst matrices, forward and backward, in float32 and float64 on the
    CPU, and its gradient is compared with the exact one.

    Args:
        M: A tensor or an array `(..., n, n)` of any real dtype, on any device, or the path of a
            file: `.npy`, `.npz`, `.pt` (weights only), `.safetensors`, or one that
            `eigbench.watch` saved. M need not be symmetric, or finite: then that is a finding.
        gradients: The loss's gradients as they reach the decomposition, if they are known: of M's
            shape, `∂L/∂f(M)`; or a mapping (or the path of a file) with `eigenvalues` `(..., n)`,
            `eigenvectors` `(..., n, n)` or both.

    Raises:
        InputError: A `ValueError`, for anything but square matrices of real numbers.
    """
    if not isinstance(M, str | Path):
        return of_matrices("M", from_value(M, gradients))
    path, source = Path(M), page.code(Path(M).name)
    if gradients is not None and not isinstance(gradients, str | Path):
        raise InputError("gradients: where M is the path of a file, the path of another is right")
    call = saved.read(path)
    if call is None:
        others = None if gradients is None else Path(gradients)
        return of_matrices(source, from_file(path, others))
    if gradients is not None:
        raise InputError(f"--gradients: {path} brings its gradients along")
    return of_matrices(source, [saved.matrix_of(call)])


def of_matrices(source: str, matrices: Sequence[GivenMatrix]) -> Diagnosis:
    """The diagnosis of matrices with their upstream gradients; `source` is Markdown."""
    facts = tuple(facts_of(matrix) for matrix in matrices)
    # What overflows on the way becomes infinite, and is seen as that.
    with unobserved(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        measured = tuple(measure(_usable(matrices[i]), facts[i], seed=i) for i in _worst(facts))
        evidence = Evidence(tuple(matrices), facts, measured)
        return Diagnosis(source, evidence, findings_of(evidence), recommendations(evidence))


def _worst(facts: Sequence[Facts]) -> list[int]:
    """Which matrices to measure: those with the smallest gaps, and the worst conditioned."""
    usable = [i for i, one in enumerate(facts) if one.decomposed]
    by_gap = sorted(usable, key=lambda i: facts[i].smallest_share)
    by_condition = sorted(usable, key=lambda i: -facts[i].condition)
    most = WORST if all(facts[i].n <= LARGE for i in usable) else 1
    half = -(-most // 2)
    return list(dict.fromkeys([*by_gap[:half], *by_condition[: most - half], *by_gap]))[:most]


def _usable(matrix: GivenMatrix) -> GivenMatrix:
    """Without upstream gradients that are not finite: every method would give NaN of them."""
    given = matrix.upstream
    return matrix if given.finite else replace(matrix, upstream=type(given)())


# The tables.


def _finite(text: str, facts: Facts) -> str:
    return text if facts.decomposed else NOTHING


def _lost(facts: Facts, precision: str) -> str:
    pair = facts.narrowest
    if pair is None:
        return NOTHING
    return number(epsilon(precision) / pair.share) if pair.share > 0 else "∞"


_FACTS = {
    "size, dtype": lambda f: f"{f.n}×{f.n}, {f.dtype}",
    "NaN or infinite entries": lambda f: str(f.not_finite),
    "asymmetry": lambda f: number(f.asymmetry),
    "largest eigenvalue": lambda f: _finite(scientific(f.eigenvalues[-1:].sum()), f),
    "smallest eigenvalue": lambda f: _finite(scientific(f.eigenvalues[:1].sum()), f),
    "condition number": lambda f: _finite(number(f.condition), f),
    "rank in float32, float64": lambda f: _finite(", ".join(str(f.rank(p)) for p in PRECISIONS), f),
    "smallest relative gap": lambda f: (
        f"{number(f.closest.relative)} at {f.closest.lower}, {f.closest.lower + 1}"
        if f.closest
        else NOTHING
    ),
    "narrowest gap by ‖M‖": lambda f: (
        f"{number(f.narrowest.share)} at {f.narrowest.lower}, {f.narrowest.lower + 1}"
        if f.narrowest
        else NOTHING
    ),
    "ε·‖M‖/gap in float32": lambda f: _lost(f, "float32"),
    "ε·‖M‖/gap in float64": lambda f: _lost(f, "float64"),
}


def _methods(measured: MatrixMeasurement) -> str:
    """Every method on one matrix, precision by precision."""
    uses = [use for use in measured.uses if use.gradient is not None]
    refused: dict[str, list[str]] = {}
    tables = []
    for precision in PRECISIONS:
        rows = []
        for method in measured.methods:
            attempts = measured.of(method, precision)
            if all(one.outcome is GradientOutcome.REFUSED for one in attempts):
                refused.setdefault(attempts[0].reason, []).append(f"`{method}`")
            else:
                rows.append((f"`{method}`", *map(_cell, attempts)))
        estimates = [number(use.estimate(measured.facts, precision)) for use in uses]
        rows.append(("*estimate*", *estimates))
        tables.append(page.table([precision, *(USES[use.name].title for use in uses)], rows))
    return page.render(
        "methods",
        label=measured.facts.label,
        arithmetic=measured.arithmetic,
        right=percent(RIGHT),
        uses=[USES[use.name] for use in uses],
        tables=tables,
        refused={reason: page.listed(list(dict.fromkeys(m))) for reason, m in refused.items()},
        missing={USES[use.name].title: use.reason for use in measured.uses if use.gradient is None},
        inexact={USES[use.name].title: use.reason for use in uses if use.exact is None},
    )


def _cell(attempt: Attempt) -> str:
    match attempt.outcome:
        case GradientOutcome.RIGHT:
            return scientific(attempt.error)
        case GradientOutcome.WRONG:
            return f"**wrong** {scientific(attempt.error)}"
        case GradientOutcome.REFUSED:
            return NOTHING
        case GradientOutcome.UNKNOWN:
            return str(attempt.outcome.value)
        case _:
            return f"**{attempt.outcome.value}**"
