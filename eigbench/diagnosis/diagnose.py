"""`eigbench.diagnose`: from matrices to an answer, and the answer as a page of Markdown."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eigbench.diagnosis import page
from eigbench.diagnosis.advice import Recommendation, recommendations
from eigbench.diagnosis.calls import unobserved
from eigbench.diagnosis.facts import PRECISIONS, Facts, Neighbours, epsilon, facts_of
from eigbench.diagnosis.findings import Evidence, MatrixFinding, Severity, findings_of
from eigbench.diagnosis.matrices import given_matrices
from eigbench.diagnosis.page import number
from eigbench.diagnosis.trials import (
    USES,
    Attempt,
    GradientOutcome,
    MatrixMeasurement,
    measure,
)
from eigbench.report.frame import RIGHT
from eigbench.report.numbers import NOTHING, percent, scientific
from eigbench.report.render import both, table
from eigbench.runs.store import REPORT, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = 4
"""The largest number of matrices that are differentiated, shown in a table and drawn."""
LARGE = 256
"""If a matrix is larger than this, only one is differentiated."""
PICTURE = "figures/spectrum.png"
_MARK = "#882255"
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
        """Eigenvalues and gaps of the worst spectra, the closest pair marked."""
        # Late, and without pyplot: a notebook's own figures and its backend stay as they are.
        from matplotlib.figure import Figure

        chosen = [facts for facts in self._shown() if facts.decomposed]
        rows = max(1, len(chosen))
        figure = Figure(figsize=(8.4, 3.3 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False)
        for (left, right), facts in zip(axes, chosen, strict=False):
            _draw_eigenvalues(left, facts)
            _draw_gaps(right, facts)
        return figure

    def to_markdown(self, picture: str = "") -> str:
        """The whole diagnosis; with the link `picture` to what `plot` draws, if there is one."""
        return "\n\n".join([self._answer(picture), *map(_methods, self.measured)]) + "\n"

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
        return "\n\n".join([self._answer(""), *map(_methods, self.measured[:1])])

    def __str__(self) -> str:
        return page.to_text(self.brief())

    def _repr_html_(self) -> str:
        link = f"data:image/png;base64,{base64.b64encode(self._png()).decode()}"
        folded = "".join(map(_methods, self.measured[:1]))
        return page.to_html(self._answer(link), folded, "Every method")

    def _png(self) -> bytes:
        buffer = io.BytesIO()
        self.plot().savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()

    def _shown(self) -> list[Facts]:
        """The facts that have a place in the table and the picture: the worst matrices."""
        by_gap = sorted(self.facts, key=lambda facts: facts.smallest_share)
        return list(dict.fromkeys([*(one.facts for one in self.measured), *by_gap]))[:WORST]

    def _answer(self, picture: str) -> str:
        """All but the tables of methods."""
        shown = self._shown()
        return page.render(
            "diagnosis",
            source=self.source,
            findings=self.findings,
            marks=MARKS,
            advice=self.recommendations,
            uses=USES,
            spectrum=_facts_table(shown),
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
    source = page.code(Path(M).name) if isinstance(M, str | Path) else "M"
    matrices = tuple(given_matrices(M, gradients))
    facts = tuple(map(facts_of, matrices))
    # What overflows on the way becomes infinite, and is seen as that.
    with unobserved(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        measured = tuple(measure(matrices[i].usable, facts[i], seed=i) for i in _worst(facts))
        evidence = Evidence(matrices, facts, measured)
        return Diagnosis(source, evidence, findings_of(evidence), recommendations(evidence))


def _worst(facts: Sequence[Facts]) -> list[int]:
    """Which matrices to measure: those with the smallest gaps, and the worst conditioned."""
    usable = [i for i, one in enumerate(facts) if one.decomposed]
    by_gap = sorted(usable, key=lambda i: facts[i].smallest_share)
    by_condition = sorted(usable, key=lambda i: -facts[i].condition)
    most = WORST if all(facts[i].n <= LARGE for i in usable) else 1
    half = -(-most // 2)
    return list(dict.fromkeys([*by_gap[:half], *by_condition[: most - half], *by_gap]))[:most]


def _pair(pair: Neighbours | None, width: float) -> str:
    return f"{number(width)} at {pair.lower}, {pair.lower + 1}" if pair else NOTHING


def _lost(facts: Facts) -> str:
    """How many gradients' worth of rounding the narrowest gap is, in each precision."""
    if facts.narrowest is None:
        return NOTHING
    share = facts.narrowest.share
    return ", ".join(number(epsilon(p) / share if share > 0 else np.inf) for p in PRECISIONS)


_SPECTRUM = {
    "largest eigenvalue": lambda f: scientific(f.eigenvalues[-1]),
    "smallest eigenvalue": lambda f: scientific(f.eigenvalues[0]),
    "condition number": lambda f: number(f.condition),
    "rank in float32, float64": lambda f: ", ".join(str(f.rank(p)) for p in PRECISIONS),
    "smallest relative gap": lambda f: _pair(f.closest, f.closest and f.closest.relative),
    "narrowest gap by ‖M‖": lambda f: _pair(f.narrowest, f.smallest_share),
    "ε·‖M‖/gap in float32, float64": _lost,
}


def _facts_table(shown: Sequence[Facts]) -> str:
    rows = [
        ("size, dtype", *(f"{facts.n}×{facts.n}, {facts.dtype}" for facts in shown)),
        ("NaN or infinite entries", *(str(facts.not_finite) for facts in shown)),
        ("asymmetry", *(number(facts.asymmetry) for facts in shown)),
    ]
    for name, cell in _SPECTRUM.items():
        rows.append((name, *(cell(facts) if facts.decomposed else NOTHING for facts in shown)))
    # `table` keeps its cells in place, and takes headers as they are.
    headers = [page.code(facts.label).replace("|", r"\|") for facts in shown]
    return table(["", *headers], rows)


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
        tables.append(table([precision, *(USES[use.name].title for use in uses)], rows))
    return page.render(
        "methods",
        label=measured.facts.label,
        arithmetic=measured.arithmetic,
        right=percent(RIGHT),
        uses=[USES[use.name] for use in uses],
        tables=tables,
        refused={reason: both(dict.fromkeys(m)) for reason, m in refused.items()},
        notes={USES[use.name].title: use.reason for use in measured.uses if use.reason},
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
    return f"**{attempt.outcome.value}**"


def _draw_eigenvalues(axes: Any, facts: Facts) -> None:
    values, index = facts.eigenvalues, np.arange(facts.n)
    magnitudes = np.abs(values)
    for chosen, colour, label in (
        (values > 0, "#0072B2", "positive"),
        (values < 0, "#D55E00", "negative, |λ|"),
    ):
        if chosen.any():
            axes.plot(index[chosen], magnitudes[chosen], "o", ms=4, color=colour, label=label)
    zero = magnitudes == 0
    floors = {precision: facts.floor(precision) for precision in PRECISIONS}
    _finish(axes, floors, magnitudes, index[zero], "zero")
    if facts.closest is not None:
        lower = facts.closest.lower
        label = f"closest: {lower}, {lower + 1}"
        axes.axvspan(lower - 0.3, lower + 1.3, color=_MARK, alpha=0.18, label=label)
    axes.set_title(f"{facts.label}: eigenvalues", fontsize=10, parse_math=False)
    axes.set_xlabel("index, ascending")
    axes.set_ylabel("eigenvalue, in M's unit")
    axes.legend(fontsize=8)


def _draw_gaps(axes: Any, facts: Facts) -> None:
    axes.set_title(f"{facts.label}: gaps of neighbours", fontsize=10, parse_math=False)
    axes.set_xlabel("index of the lower one")
    axes.set_ylabel("gap divided by ‖M‖")
    if facts.narrowest is None or facts.largest == 0:
        axes.text(0.5, 0.5, "no gap", ha="center", va="center", transform=axes.transAxes)
        return
    gaps, index = np.diff(facts.eigenvalues / facts.largest), np.arange(facts.n - 1)
    wide = gaps > 0
    axes.plot(index[wide], gaps[wide], "o", ms=4, color="#0072B2")
    pair = facts.narrowest
    if pair.share > 0:
        axes.plot(pair.lower, pair.share, "o", ms=10, mfc="none", color=_MARK, label="narrowest")
    floors = {precision: epsilon(precision) for precision in PRECISIONS}
    _finish(axes, floors, gaps, index[~wide], "equal: gap 0")
    axes.legend(fontsize=8)


def _finish(axes: Any, floors: dict[str, float], shown: Any, zeros: Any, label: str) -> None:
    """Zeros at the foot of a logarithmic axis, and the rounding errors that are near the rest."""
    positive = shown[shown > 0]
    smallest = positive.min() if len(positive) else 0.0
    axes.set_yscale("log")
    if len(zeros):
        foot = min(smallest or 1.0, floors["float64"] or 1.0) / 10
        axes.plot(zeros, np.full(len(zeros), foot), "x", ms=5, color=_MARK, label=label)
    for (precision, floor), style in zip(floors.items(), ("--", ":"), strict=True):
        if floor > smallest / 1e3:
            axes.axhline(floor, color="0.55", ls=style, lw=1, label=f"rounding, {precision}")
    axes.xaxis.get_major_locator().set_params(integer=True)
