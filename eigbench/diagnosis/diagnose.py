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
from eigbench.diagnosis.questions import TORCH, USES, YOURS
from eigbench.diagnosis.sees import gauge_residual
from eigbench.diagnosis.spectrum import COMPLEX, Spectrum, spectrum_of
from eigbench.diagnosis.trials import (
    PRECISIONS,
    Answer,
    Attempt,
    GradientOutcome,
    MatrixMeasurement,
    Trial,
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


@dataclass(frozen=True)
class Recommendation:
    """What to call for one use of the matrices that were measured."""

    use: str
    """A key of `eigbench.diagnosis.questions.USES`, such as "inverse-square-root"."""
    method: str
    """Of eigbench, or "eigh" for torch's own functions; empty if there is nothing to recommend."""
    precision: str
    why: str
    """Markdown: how far off it is; or why there is nothing."""
    code: str = ""
    """Lines to paste, of the names M, torch and eigbench. They were executed on these matrices."""
    result: str = ""
    """The name, or names, that the lines bind."""
    chosen: tuple[int, ...] = ()
    """The eigenpairs that the use takes, counted from 0 in ascending order."""
    regularised: float = 0.0
    """What the lines add to the diagonal."""
    kept: int = 0
    """How many leading pairs the lines keep; 0 for all."""
    error: float = np.nan
    """The largest relative error of their gradients on what they were executed on."""


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
        return "\n\n".join([self._answer(picture), *tables]) + "\n"

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
        """As Markdown without picture, and without the table of every method."""
        return self._answer("")

    def __str__(self) -> str:
        return page.to_text(self.brief())

    def _repr_html_(self) -> str:
        link = f"data:image/png;base64,{base64.b64encode(self._png()).decode()}"
        folded = "".join(_methods(one) for one in self.measured[:1] if one.methods)
        return page.to_html(self._answer(link), folded, "Every method")

    def _png(self) -> bytes:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # late, as the figure is

        buffer, figure = io.BytesIO(), self.plot()
        figure.set_dpi(110)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def _answer(self, picture: str) -> str:
        """All but the tables of methods."""
        return page.render(
            "diagnosis",
            source=self.source,
            findings=self.findings,
            marks=MARKS,
            advice=_grouped(self.recommendations, self.findings),
            where=_where(self.measured),
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
        return Diagnosis(source, evidence, findings_of(evidence), _recommendations(evidence))


def _recommendations(evidence: Evidence) -> tuple[Recommendation, ...]:
    """One for each use that any of the measured matrices has, the user's own loss first."""
    uses = dict.fromkeys(a.question.use for one in evidence.measured for a in one.answers)
    order = sorted(uses, key=lambda use: use != YOURS)
    return tuple(_recommended(use, evidence) for use in order)


def _recommended(use: str, evidence: Evidence) -> Recommendation:
    """What was right on every measured matrix that has this use, the worst one's lines."""
    answers = [a for one in evidence.measured for a in one.answers if a.question.use == use]
    measured = [one for one in evidence.measured for a in one.answers if a.question.use == use]
    question, precision = answers[0].question, measured[0].spectrum.precision
    for one, answer in zip(measured, answers, strict=True):
        if answer.question.reason:
            label = f"{page.code(one.spectrum.label)}: " if len(evidence.matrices) > 1 else ""
            why = f"{label}{answer.question.reason}"
            return Recommendation(use, "", precision, why, chosen=answer.question.chosen)
    chosen = max(answers, key=_caution)
    question, best = chosen.question, chosen.best
    if best is None or any(one.best is None for one in answers):
        most = max((trial.right for trial in answers[0].trials), default=0)
        why = page.render("answers", "none_right", where=_where(measured), most=most)
        return Recommendation(use, "", precision, why, chosen=question.chosen)
    cure = best.cure
    # The lines of one matrix may not be those that were executed on another.
    same = [[t for t in answer.trials if t.cure.code == cure.code] for answer in answers]
    on = [one for one, trials in zip(measured, same, strict=True) if trials]
    error = max(trials[0].largest_error for trials in same if trials)
    where = _where(on, copies=use != YOURS)
    if where == _where(evidence.measured):
        where = ""
    why = page.render("answers", "why", error=error, precision=cure.precision, where=where)
    return Recommendation(
        use,
        cure.method,
        cure.precision,
        why,
        cure.code,
        cure.result,
        question.chosen,
        cure.regularised,
        cure.kept,
        error,
    )


def _caution(answer: Answer) -> int:
    """How far down the list of cures the first right one is: the worst matrix decides."""
    codes = [cure.code for cure in answer.question.cures]
    return len(codes) if answer.best is None else codes.index(answer.best.cure.code)


def _where(measured: Sequence[MatrixMeasurement], *, copies: bool = True) -> str:
    """On how many matrices something was measured, in words."""
    labels = [page.code(one.spectrum.label) for one in measured]
    count = sum(one.copies for one in measured) if copies else 0
    named = labels if len(labels) <= 2 else [f"{len(labels)} matrices"]
    return both([*named, f"{count} copies"]) if count else both(named)


@dataclass(frozen=True)
class _Advice:
    """What the page says of some uses at once: their lines, or why there are none."""

    title: str
    why: str
    code: str
    torch: bool
    above: bool
    """Whether a finding shows these lines."""


_VECTORS = {
    "leading-vector": "largest",
    "smallest-vector": "smallest",
    "second-smallest-vector": "second smallest",
}


def _grouped(advice: Sequence[Recommendation], findings: Sequence[MatrixFinding]) -> list[_Advice]:
    """What to say of each use, without the reasons that a finding gives; lines come first."""
    said = "\n".join(one.text for one in findings)
    groups: dict[str, list[Recommendation]] = {}
    for one in sorted(advice, key=lambda one: not one.code):
        if one.code or one.why not in said:
            groups.setdefault(_shared(one), []).append(one)
    return [_advice(group, said) for group in groups.values()]


def _shared(one: Recommendation) -> str:
    """What uses have in common that are answered at once: a reason, or lines.

    M^(1/2) has the lines of M^(−1/2) but for a name; vectors of torch have one call.
    """
    if not one.code or one.use == YOURS:
        return one.why
    if one.use == "square-root":
        return one.code.replace(one.use, "inverse-square-root")
    return one.code.rpartition("\n")[0] if one.use in _VECTORS else one.code


def _advice(group: Sequence[Recommendation], said: str) -> _Advice:
    uses = [one.use for one in group]
    vectors = [_VECTORS[use] for use in uses if use in _VECTORS]
    named = [USES[use] for use in uses if not (use in _VECTORS and vectors[1:])]
    if vectors[1:]:
        named.append(f"the eigenvectors of the {both(vectors)} eigenvalue")
    first, code = group[0], group[0].code
    if code and vectors[1:]:
        lasts = [f"{one.code.splitlines()[-1]}  # {_VECTORS[one.use]}" for one in group]
        code = "\n".join([code.rpartition("\n")[0], *lasts])
    why = first.why if not code else max(group, key=lambda one: one.error).why
    return _Advice(both(named), why, code, first.method == TORCH, bool(code) and code in said)


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
        uses={use: USES[use] for use in uses},
        tables=tables,
        refused={reason: both(dict.fromkeys(m)) for reason, m in refused.items()},
        added=_added(measured),
    )


def _added(measured: MatrixMeasurement) -> float:
    """The ε that was added to the diagonal of a singular M."""
    trials: list[Trial] = [trial for one in measured.answers for trial in one.trials]
    return next((one.cure.regularised for one in trials if one.cure.regularised), 0.0)


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
