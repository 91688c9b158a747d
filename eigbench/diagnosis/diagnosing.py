"""`eigbench.diagnose`: from matrices to an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eigbench.diagnosis import backward, conditioning, entries, saved, upstream
from eigbench.diagnosis.document import Document, compose
from eigbench.diagnosis.facts import Facts, facts_of
from eigbench.diagnosis.findings import Evidence, Finding
from eigbench.diagnosis.intercepting import unobserved
from eigbench.diagnosis.recommend import Recommendation, recommendations
from eigbench.diagnosis.subjects import Subject, from_file, from_value
from eigbench.diagnosis.trials import Measured, measure
from eigbench.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURED = 4
"""So many matrices of a batch are differentiated, the worst."""
LARGE = 256
"""Of matrices above this size only the worst one."""
LINK = "figures/spectrum.png"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found. `print` it, or let a notebook show it; the facts are attributes."""

    title: str
    evidence: Evidence
    findings: tuple[Finding, ...]
    """The worst first."""
    recommendations: tuple[Recommendation, ...]

    @property
    def facts(self) -> tuple[Facts, ...]:
        """The facts of each matrix."""
        return self.evidence.facts

    @property
    def measured(self) -> tuple[Measured, ...]:
        """What every method did on the worst matrices, the worst first."""
        return self.evidence.measured

    @property
    def verdict(self) -> str:
        """The worst finding in one line."""
        return self.findings[0].title if self.findings else "nothing to say"

    def document(self, *, everything: bool = False) -> Document:
        """The blocks that it is shown as; `everything`: the methods on all measured matrices."""
        return compose(
            self.title, self.evidence, self.findings, self.recommendations, everything=everything
        )

    def plot(self) -> Figure:
        """A matplotlib figure of the worst spectra, the closest pair marked."""
        from eigbench.diagnosis.plot import draw  # late: matplotlib

        return draw(sorted(self.facts, key=lambda facts: facts.smallest_share))

    def to_markdown(self) -> str:
        """The whole report, without its picture."""
        from eigbench.diagnosis.markdown import to_markdown

        return to_markdown(self.document(everything=True), None)

    def write(self, folder: Path) -> Path:
        """Write `report.md` and its picture into a folder; returns the report's path."""
        from eigbench.diagnosis.markdown import to_markdown
        from eigbench.diagnosis.plot import to_png
        from eigbench.runs.store import write_whole

        picture = folder / LINK
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_whole(picture, to_png(self.plot()))
        report = folder / "report.md"
        write_whole(report, to_markdown(self.document(everything=True), LINK).encode())
        return report

    def __str__(self) -> str:
        from eigbench.diagnosis.terminal import to_text

        return to_text(self.document())

    def _repr_html_(self) -> str:
        from eigbench.diagnosis.html import to_html
        from eigbench.diagnosis.plot import to_png

        return to_html(self.document(), to_png(self.plot()))


def diagnose(M: Any, gradients: Any = None) -> Diagnosis:
    """Say what is wrong, or well, with differentiating through the eigenpairs of `M`.

    `M` is a tensor or an array `(..., n, n)` of any real dtype, on any device, or the path of a
    file: `.npy`, `.npz`, `.pt` (weights only), `.safetensors`, or one that `eigbench.watch` saved.
    It need not be symmetric, or finite: then that is a finding. `gradients`, if known, are the
    loss's gradients as they reach the decomposition: of M's shape, `∂L/∂f(M)`; or a mapping (or
    the path of a file) with `eigenvalues` `(..., n)`, `eigenvectors` `(..., n, n)` or both.

    Every method is run on the worst matrices, forward and backward, in float32 and float64 on the
    CPU, and its gradient compared with the exact one. Raises `InputError`, a `ValueError`, for
    what is no square matrix of real numbers.
    """
    if isinstance(M, str | Path):
        return _of_file(Path(M), None if gradients is None else _path(gradients))
    return of_subjects("Diagnosis of M", from_value(M, gradients))


def of_subjects(title: str, subjects: Sequence[Subject]) -> Diagnosis:
    """The diagnosis of matrices with their upstream gradients."""
    facts = tuple(facts_of(subject) for subject in subjects)
    # What overflows on the way becomes infinite, and is seen as that.
    with unobserved(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        measured = tuple(measure(_usable(subjects[i]), facts[i], seed=i) for i in _worst(facts))
        evidence = Evidence(tuple(subjects), facts, measured)
        topics = (upstream, entries, backward, conditioning)
        found = [finding for topic in topics for finding in topic.findings(evidence)]
    found.sort(key=lambda finding: finding.severity)
    return Diagnosis(title, evidence, tuple(found), recommendations(evidence))


def _path(gradients: Any) -> Path:
    if isinstance(gradients, str | Path):
        return Path(gradients)
    raise InputError("gradients: where M is the path of a file, the path of another is right")


def _of_file(path: Path, gradients: Path | None) -> Diagnosis:
    title = f"Diagnosis of {path.name}"
    call = saved.read(path)
    if call is None:
        return of_subjects(title, from_file(path, gradients))
    subject = saved.subject_of(call)
    if gradients is not None:
        raise InputError(f"--gradients: {path} brings its gradients along")
    return of_subjects(title, [subject])


def _worst(facts: Sequence[Facts]) -> list[int]:
    """Which matrices to measure: those with the smallest gaps, and the worst conditioned."""
    usable = [i for i, one in enumerate(facts) if one.decomposed]
    by_gap = sorted(usable, key=lambda i: facts[i].smallest_share)
    by_condition = sorted(usable, key=lambda i: -facts[i].condition)
    most = MEASURED if all(facts[i].n <= LARGE for i in usable) else 1
    half = -(-most // 2)
    return list(dict.fromkeys([*by_gap[:half], *by_condition[: most - half], *by_gap]))[:most]


def _usable(subject: Subject) -> Subject:
    """Without upstream gradients that are not finite: every method would give NaN of them."""
    given = subject.upstream
    return subject if given.finite else replace(subject, upstream=type(given)())
