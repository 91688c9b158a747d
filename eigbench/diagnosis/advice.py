"""What to call for each use of the matrices that were measured, and how a page says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from eigbench.diagnosis import page
from eigbench.diagnosis.findings import Evidence, MatrixFinding
from eigbench.diagnosis.questions import TORCH, USES, YOURS, Lines
from eigbench.diagnosis.trials import Answer, MatrixMeasurement
from eigbench.report.render import both


@dataclass(frozen=True)
class Recommendation(Lines):
    """What to call for one use; the lines were executed on the matrices that were measured."""

    use: str = ""
    """A key of `eigbench.diagnosis.questions.USES`, such as "inverse-square-root"."""
    why: str = ""
    """Markdown: how far off it is; or why there is nothing to call."""
    chosen: tuple[int, ...] = ()
    """The eigenpairs that the use takes, counted from 0 in ascending order."""
    error: float = np.nan
    """The largest relative error of their gradients on what they were executed on."""


def recommendations_of(evidence: Evidence) -> tuple[Recommendation, ...]:
    """One for each use that any of the measured matrices has, the user's own loss first."""
    uses = dict.fromkeys(use for one in evidence.measured for use in one.answers)
    return tuple(_recommended(use, evidence) for use in sorted(uses, key=lambda use: use != YOURS))


def _recommended(use: str, evidence: Evidence) -> Recommendation:
    """What was right on every measured matrix that has this use, the worst one's lines."""
    measured = [one for one in evidence.measured if use in one.answers]
    answers = [one.answers[use] for one in measured]
    precision = measured[0].spectrum.precision
    for one, answer in zip(measured, answers, strict=True):
        question = answer.question
        if question.reason:
            label = f"{page.code(one.spectrum.label)}: " if len(evidence.matrices) > 1 else ""
            why = f"{label}{question.reason}"
            return Recommendation(precision=precision, use=use, why=why, chosen=question.chosen)
    worst = max(answers, key=_caution)
    question, best = worst.question, worst.best
    if best is None or any(one.best is None for one in answers):
        most = max((trial.right for trial in answers[0].trials), default=0)
        why = page.render("answers", "none_right", where=where(measured), most=most)
        return Recommendation(precision=precision, use=use, why=why, chosen=question.chosen)
    cure = best.cure
    # The lines of one matrix may not be those that were executed on another.
    tried = [[t for t in answer.trials if t.cure.code == cure.code] for answer in answers]
    error = max(trials[0].largest_error for trials in tried if trials)
    on = [one for one, trials in zip(measured, tried, strict=True) if trials]
    whole = where(on, copies=use != YOURS)
    alone = "" if whole == where(evidence.measured) else whole
    why = page.render("answers", "why", error=error, precision=cure.precision, where=alone)
    lines = {part.name: getattr(cure, part.name) for part in fields(Lines)}
    return Recommendation(**lines, use=use, why=why, chosen=question.chosen, error=error)


def _caution(answer: Answer) -> int:
    """How far down the list of cures the first right one is: the worst matrix decides."""
    codes = [cure.code for cure in answer.question.cures]
    return len(codes) if answer.best is None else codes.index(answer.best.cure.code)


def where(measured: Sequence[MatrixMeasurement], *, copies: bool = True) -> str:
    """On how many matrices something was measured, in words."""
    labels = [page.code(one.spectrum.label) for one in measured]
    count = sum(one.copies for one in measured) if copies else 0
    named = labels if len(labels) <= 2 else [f"{len(labels)} matrices"]
    return both([*named, f"{count} copies"]) if count else both(named)


_VECTORS = {
    "leading-vector": "largest",
    "smallest-vector": "smallest",
    "second-smallest-vector": "second smallest",
}


def paragraphs_of(
    advice: Sequence[Recommendation], findings: Sequence[MatrixFinding]
) -> list[dict[str, Any]]:
    """What a page says of the uses, of some at once; not the reasons that a finding gives.

    Each has the values that the template asks for. Lines come first.
    """
    said = "\n".join(one.text for one in findings)
    groups: dict[str, list[Recommendation]] = {}
    for one in sorted(advice, key=lambda one: not one.code):
        if one.code or one.why not in said:
            groups.setdefault(_shared(one), []).append(one)
    return [_paragraph(group, said) for group in groups.values()]


def _shared(one: Recommendation) -> str:
    """What uses have in common that are answered at once: a reason, or lines.

    M^(1/2) has the lines of M^(−1/2) but for a name; vectors of torch have one call.
    """
    if not one.code or one.use == YOURS:
        return one.why
    if one.use == "square-root":
        return one.code.replace(one.use, "inverse-square-root")
    return one.code.rpartition("\n")[0] if one.use in _VECTORS else one.code


def _paragraph(group: Sequence[Recommendation], said: str) -> dict[str, Any]:
    code = group[0].code
    vectors = [one for one in group if one.use in _VECTORS]
    several = len(vectors) > 1
    titles = [USES[one.use].title for one in group if not (several and one in vectors)]
    if several:
        which = both(_VECTORS[one.use] for one in vectors)
        titles.append(f"the eigenvectors of the {which} eigenvalue")
    if several and code:
        lasts = [f"{one.code.splitlines()[-1]}  # {_VECTORS[one.use]}" for one in vectors]
        code = "\n".join([code.rpartition("\n")[0], *lasts])
    return {
        "title": both(titles),
        "why": (max(group, key=lambda one: one.error) if code else group[0]).why,
        "code": code,
        "torch": group[0].method == TORCH,
        "above": bool(code) and code in said,  # a finding shows these lines
    }
