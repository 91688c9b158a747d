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
from eigbench.diagnosis.advice import Recommendation, paragraphs_of, recommendations_of, where
from eigbench.diagnosis.calls import unobserved
from eigbench.diagnosis.census import Say, census_of
from eigbench.diagnosis.findings import (
    Evidence,
    MatrixFinding,
    Severity,
    findings_of,
)
from eigbench.diagnosis.matrices import given_matrices
from eigbench.diagnosis.page import number
from eigbench.diagnosis.picture import spectra
from eigbench.diagnosis.questions import USES
from eigbench.diagnosis.sees import gauge_residual
from eigbench.diagnosis.spectrum import COMPLEX, Spectrum, spectrum_of
from eigbench.diagnosis.trials import (
    PRECISIONS,
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
    """One for each use; the user's own loss first, if it is known."""

    @property
    def measured(self) -> tuple[MatrixMeasurement, ...]:
        """What was measured on the worst matrices, the worst first."""
        return self.evidence.measured

    @property
    def facts(self) -> tuple[Spectrum, ...]:
        """The spectra of the matrices that were measured."""
        return tuple(one.spectrum for one in self.measured)

    @property
    def verdict(self) -> str:
        """The worst finding in one line."""
        return self.findings[0].title if self.findings else "nothing to say"

    def plot(self) -> Figure:
        """Values and gaps of the spectra that were measured, the narrowest gap marked."""
        return spectra(self.facts)

    def to_markdown(self, picture: str = "") -> str:
        """The whole diagnosis; with the link `picture` to what `plot` draws, if there is one."""
        tables = [_methods(one) for one in self.measured if one.methods]
        return "\n\n".join([self.brief(picture), *tables]) + "\n"

    def write(self, folder: Path, preface: str = "") -> Path:
        """Write `report.md` and its picture into a folder; returns the report's path.

        `preface` is Markdown that comes before the diagnosis.
        """
        picture, report = folder / PICTURE, folder / REPORT
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_whole(picture, self._png())
        write_whole(report, f"{preface}{self.to_markdown(PICTURE)}".encode())
        return report

    def __str__(self) -> str:
        return page.to_text(self.brief())

    def _repr_html_(self) -> str:
        link = f"data:image/png;base64,{base64.b64encode(self._png()).decode()}"
        folded = "".join(_methods(one) for one in self.measured[:1] if one.methods)
        return page.to_html(self.brief(link), folded, "Every method")

    def _png(self) -> bytes:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # late, as the figure is

        buffer, figure = io.BytesIO(), self.plot()
        figure.set_dpi(110)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def brief(self, picture: str = "") -> str:
        """As Markdown without the tables of every method."""
        return page.render(
            "diagnosis",
            source=self.source,
            findings=self.findings,
            marks=MARKS,
            advice=paragraphs_of(self.recommendations, self.findings),
            where=where(self.measured),
            copies=any(one.copies for one in self.measured),
            spectrum=_facts_table(self.facts),
            total=len(self.evidence.matrices),
            measured=[page.code(one.label) for one in self.facts],
            picture=picture,
            svd=any(one.svd for one in self.facts),
            gauge=any(gauge_residual(one) is not None for one in self.facts),
        )


def diagnose(M: Any, gradients: Any = None, *, say: Say = lambda _: None) -> Diagnosis:
    """Say what is wrong, or right, with differentiating through the decomposition of `M`.

    Whether a gradient exists follows from the spectrum, from the dtype in which M was given, and
    from what the loss sees, if its gradients are given. The lines that are advised were executed,
    forward and backward, on the worst matrices and on copies of them that differ by rounding and by
    basis, on the CPU, and compared with the exact gradient.

    Args:
        M: A tensor or an array `(..., n, n)` or `(..., m, n)` of any dtype of numbers, on any
            device, or the path of a file: `.npy`, `.npz`, `.pt` (weights only), `.safetensors`,
            or one that `eigbench.watch` saved. Square matrices are taken as symmetric or Hermitian,
            others by their singular values. M need not be finite: then that is a finding.
        gradients: The loss's gradients as they reach the decomposition, if they are known: of M's
            shape, `∂L/∂f(M)`; or a mapping (or the path of a file) with `eigenvalues` `(..., n)`,
            `eigenvectors` `(..., n, n)` or both; of an svd `left`, `singular values`, `right`
            (the last by Vᴴ).
        say: Is called with a few words about what takes long.

    Raises:
        InputError: A `ValueError`, for anything but matrices of numbers.
    """
    source = page.code(Path(M).name) if isinstance(M, str | Path) else "M"
    matrices = given_matrices(M, gradients)
    # What overflows on the way becomes infinite, and is seen as that.
    with unobserved(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        census = census_of(matrices, say)
        measured = []
        for place, index in enumerate(census.chosen):
            matrix = matrices[index].usable
            size = "×".join(map(str, matrix.entries.shape))
            say(f"measuring {matrix.label}, {size} ({place + 1} of {len(census.chosen)})")
            spectrum = spectrum_of(matrix)
            if np.isfinite(spectrum.values).all():  # near the largest number they overflow
                measured.append(measure(spectrum, every_method=place == 0))
        evidence = Evidence(matrices, census, tuple(measured))
        return Diagnosis(source, evidence, findings_of(evidence), recommendations_of(evidence))


def _narrowest(one: Spectrum) -> str:
    pair = one.narrowest
    return f"{number(pair.share)} at {pair.lower}, {pair.lower + 1}" if pair else NOTHING


_ROWS = {
    "size, dtype": lambda one: (
        f"{'×'.join(map(str, one.matrix.entries.shape))}, {one.matrix.dtype}"
    ),
    "largest": lambda one: scientific(one.values[-1]),
    "smallest": lambda one: scientific(one.values[0]),
    "condition number": lambda one: number(one.condition),
    "zero up to n·ε·‖M‖": lambda one: scientific(one.floor),
    "rank": lambda one: f"{one.rank} of {one.size}",
    "equal to rounding": lambda one: (
        ", ".join(f"{c.start}–{c.stop - 1}" for c in one.ties[:3]) or NOTHING
    ),
    "narrowest gap by ‖M‖": _narrowest,
}


def _facts_table(shown: Sequence[Spectrum]) -> str:
    if not shown:
        return ""
    rows = [(name, *(cell(one) for one in shown)) for name, cell in _ROWS.items()]
    residuals = [gauge_residual(one) for one in shown]
    if any(one is not None for one in residuals):
        cells = (NOTHING if one is None else number(one) for one in residuals)
        rows.append(("gauge residual of the loss", *cells))
    # `table` keeps its cells in place, and takes headers as they are.
    headers = [page.code(one.label).replace("|", r"\|") for one in shown]
    return table(["", *headers], rows)


def _methods(measured: MatrixMeasurement) -> str:
    """Every method on one matrix, precision by precision."""
    uses = list(dict.fromkeys(use for row in measured.methods.values() for use, _ in row))
    trials = [trial for one in measured.answers.values() for trial in one.trials]
    refused: dict[str, list[str]] = {}
    tables = []
    for precision in PRECISIONS:
        rows = []
        for method, row in measured.methods.items():
            attempts = [row[use, precision] for use in uses]
            if all(one.outcome is GradientOutcome.REFUSED for one in attempts):
                refused.setdefault(attempts[0].reason, []).append(f"`{method}`")
            else:
                rows.append((f"`{method}`", *map(_cell, attempts)))
        named = COMPLEX[precision] if measured.spectrum.complex else precision
        tables.append(table([named, *uses], rows))
    return page.render(
        "methods",
        label=measured.spectrum.label,
        digits=measured.digits,
        right=percent(RIGHT),
        uses={use: USES[use].title for use in uses},
        tables=tables,
        refused={reason: both(dict.fromkeys(m)) for reason, m in refused.items()},
        added=max(trial.cure.regularised for trial in trials),
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
