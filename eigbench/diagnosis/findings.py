"""What was found on the matrices; the words are in `templates/findings.md.j2`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from typing import Any

import numpy as np

from eigbench.data.matrices import SYMMETRY_TOLERANCE
from eigbench.diagnosis import page
from eigbench.diagnosis.census import FLOAT32, NAMED, Census, Group
from eigbench.diagnosis.matrices import FUNCTION, Matrices, Numbers
from eigbench.diagnosis.questions import TORCH, USES, YOURS
from eigbench.diagnosis.sees import EXISTS, NO_DERIVATIVE
from eigbench.diagnosis.spectrum import Spectrum, granularity, spectrum_of, unit
from eigbench.diagnosis.trials import Answer, GradientOutcome, MatrixMeasurement, Trial

PRINTED = 4
"""A gradient of at most this size is printed whole."""
COARSE, WRITTEN = 2.0**-16, {0.25, 0.5, 1.0}
"""Entries that are multiples of more than this, by ‖M‖, are a difference of larger numbers."""
FAILED = (GradientOutcome.NAN, GradientOutcome.INFINITE, GradientOutcome.RAISED)


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
    Severity.FAILS: (
        "upstream_not_finite",
        "not_finite",
        "no_derivative",
        "undetermined",
        "own_fails",
        "zero_under_root",
        "tie",
        "raises",
        "out_of_range",
    ),
    Severity.WRONG: ("cancellation", "asymmetric", "own_wrong", "wrong"),
    Severity.BEWARE: ("half", "singular", "ill_conditioned", "by_chance"),
    Severity.NOTE: ("upstream_zero", "saved", "one_by_one", "indefinite", "finite_is_not_right"),
    Severity.WELL: ("own_right", "right"),
}
SEVERITY = {kind: severity for severity, kinds in _KINDS.items() for kind in kinds}
"""Every kind of finding: a block of the template. Of one severity the first one comes first."""
_ORDER = {kind: place for place, kind in enumerate(SEVERITY)}


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


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that findings are drawn from."""

    matrices: Matrices
    census: Census
    measured: tuple[MatrixMeasurement, ...]
    """Those of the worst finite matrices, the worst first."""

    @property
    def precision(self) -> str:
        """The precision that the user works in."""
        if self.measured:
            return self.measured[0].spectrum.precision
        return "float64" if self.matrices[0].dtype in {"float64", "complex128"} else "float32"


def finding(kind: str, **values: Any) -> MatrixFinding:
    """The finding of this kind, with these values in its words."""
    title, _, text = page.render("findings", kind, **values).partition("\n\n")
    return MatrixFinding(kind, SEVERITY[kind], page.one_line(title), text)


def findings_of(evidence: Evidence) -> tuple[MatrixFinding, ...]:
    """All findings, the worst first."""
    found = chain(_saved(evidence), _upstream(evidence), _own(evidence), _all(evidence))
    torch = chain(_torch(evidence), _others(evidence))
    return tuple(sorted(chain(found, torch), key=lambda one: _ORDER[one.kind]))


def _saved(evidence: Evidence) -> Iterator[MatrixFinding]:
    matrix = evidence.matrices[0]
    if matrix.origin is not None:
        yield finding("saved", origin=matrix.origin)


def _upstream(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Whether what reached the decomposition from the loss was finite, and not all zero."""
    for stack in evidence.matrices.stacks:
        if not stack.gradients:
            continue
        for name, gradient in stack.gradients.items():
            count = len(gradient)
            broken = ~np.isfinite(gradient).reshape(count, -1).all(axis=1)
            if broken.any():
                label = stack.label(int(broken.argmax()))
                shown = "f(M)" if name == FUNCTION else name
                yield finding("upstream_not_finite", label=label, name=shown)
                return
        if not any(np.any(gradient) for gradient in stack.gradients.values()):
            yield finding("upstream_zero", label=stack.label(0))
            return


def _own(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The user's own loss, of the first matrix of which it is known."""
    for measured in evidence.measured:
        seen = measured.seen
        if seen is None:
            continue
        values = {"spectrum": measured.spectrum, "seen": seen, "label": measured.spectrum.label}
        if seen.kind in NO_DERIVATIVE:
            yield finding("no_derivative", **values, reason=measured.answers[YOURS].question.reason)
        elif seen.kind not in EXISTS:
            yield finding("undetermined", **values, reason=measured.answers[YOURS].question.reason)
        else:
            yield _own_gradient(measured, values)
        return


def _own_gradient(measured: MatrixMeasurement, values: dict[str, Any]) -> MatrixFinding:
    """The right gradient of the user's own loss, and what torch makes of it."""
    answer, seen = measured.answers[YOURS], measured.seen
    assert seen is not None and answer.torch is not None  # noqa: S101, PT018 - there is a gradient
    outcome = answer.torch.attempts[0].outcome
    kind = "own_right"
    if outcome in FAILED:
        kind = "own_fails"
    elif outcome is GradientOutcome.WRONG:
        kind = "own_wrong"
    gradient = seen.gradient
    assert gradient is not None  # noqa: S101 - as above
    printed = None if max(gradient.shape) > PRINTED else np.array2string(gradient, precision=4)
    return finding(
        kind,
        **values,
        attempt=answer.torch.attempts[0],
        best=answer.best,
        printed=printed,
        norm=float(np.linalg.norm(gradient)),
        precision=measured.spectrum.precision,
    )


def _about(evidence: Evidence, group: Group) -> dict[str, Any]:
    """What every finding on some matrices says: which they are, and which is the worst."""
    matrices = evidence.matrices
    worst = matrices[group.worst]
    named = ", ".join(page.code(matrices[i].label) for i in group.first)
    whose = named
    if group.count > 1:
        more = ", …" if group.count > NAMED else ""
        whose = f"{group.count} of {len(matrices)} matrices ({named}{more}); the worst, "
        whose += page.code(worst.label)
    return {
        "whose": whose,
        "worst": worst,
        "precision": evidence.precision,
        "unit": unit,
        "limits": FLOAT32,
        "tolerance": SYMMETRY_TOLERANCE,
    }


def _all(evidence: Evidence) -> Iterator[MatrixFinding]:
    """What the matrices are, before anything is differentiated."""
    cancelled = False
    for kind, group in evidence.census.groups.items():
        about = _about(evidence, group)
        entries = about["worst"].entries
        if kind == "not_finite":
            broken = np.argwhere(~np.isfinite(entries))
            yield finding(kind, **about, count=len(broken), first=broken[0])
            continue
        spectrum = _spectrum(evidence, group.worst)
        about |= {"spectrum": spectrum, "asymmetry": group.badness}
        if (
            kind in {"asymmetric", "indefinite"}
            and spectrum.negative
            and (grain := _grain(spectrum, entries))
        ):
            if not cancelled:
                cancelled = True
                yield finding("cancellation", **about, grain=grain)
            continue
        if kind == "singular":
            answer = _answer_of(evidence, group.worst, "inverse-square-root")
            cures = [] if answer is None else [one for one in answer.trials if one.always_right]
            failed = answer is not None and _fails(answer.torch)
            about |= {"cures": cures, "tied": bool(spectrum.ties)}
            yield finding("zero_under_root" if failed else "singular", **about)
        else:
            yield finding(kind, **about)


def _spectrum(evidence: Evidence, index: int) -> Spectrum:
    measured = _measured(evidence, index)
    return spectrum_of(evidence.matrices[index]) if measured is None else measured.spectrum


def _measured(evidence: Evidence, index: int) -> MatrixMeasurement | None:
    label = evidence.matrices[index].label
    return next((one for one in evidence.measured if one.spectrum.label == label), None)


def _answer_of(evidence: Evidence, index: int, use: str) -> Answer | None:
    """The answer for a matrix, or that for another one that was measured and is like it."""
    first = _measured(evidence, index)
    some = [*([first] if first else []), *evidence.measured]
    answers = [one.answers[use] for one in some if use in one.answers]
    return next((a for a in answers if any(trial.cure.regularised for trial in a.trials)), None)


def _grain(spectrum: Spectrum, entries: Numbers) -> float:
    """What all entries are multiples of, where that says that larger numbers were subtracted.

    Halves and whole numbers say nothing: people write them.
    """
    grain = granularity(entries)
    coarse = grain > COARSE * spectrum.norm
    return grain if coarse and grain not in WRITTEN else 0.0


def _fails(trial: Trial | None) -> bool:
    """Whether torch's own lines end in NaN, an infinity or an error on M or any copy."""
    if trial is None:
        return False
    return bool(trial.count(*FAILED)) or not all(one.forward_finite for one in trial.attempts)


def _torch(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The backward pass of torch's own functions, on uses that have a derivative."""
    if any(one.seen is not None for one in evidence.measured):
        return  # the user's own loss is what counts
    kinds = {one: _judged(one) for one in evidence.measured}
    for kind in ("tie", "raises", "wrong", "by_chance", "right"):
        some = [one for one in evidence.measured if kinds[one] == kind]
        if not some:
            continue
        worst = some[0]
        answers = [a for a in _torch_answers(worst) if _bad(a)] or _torch_answers(worst)
        yield finding(
            kind,
            labels=", ".join(page.code(one.spectrum.label) for one in some),
            spectrum=worst.spectrum,
            partly=len(evidence.matrices) > len(evidence.measured),
            answers=answers,
            nouns=[USES[one.question.use].noun for one in answers],
            matrices=worst.copies + 1,
            precision=worst.spectrum.precision,
            function="svd" if worst.spectrum.svd else TORCH,
            instead=_instead(worst),
            uses=USES,
            failed=FAILED,
            wrong=GradientOutcome.WRONG,
        )


def _torch_answers(measured: MatrixMeasurement) -> list[Answer]:
    """The uses that have a derivative, as torch's own lines answer them."""
    singular = bool(measured.spectrum.zeros)
    return [
        one
        for one in measured.answers.values()
        if one.torch is not None and not (singular and "square-root" in one.question.use)
    ]


def _bad(answer: Answer) -> bool:
    return answer.torch is not None and not answer.torch.always_right


def _judged(measured: MatrixMeasurement) -> str:
    """The kind of finding that torch's own functions are; empty if nothing could be judged."""
    trials = [one.torch for one in _torch_answers(measured) if one.torch is not None]
    if not trials:
        return ""
    if any(trial.count(GradientOutcome.NAN, GradientOutcome.INFINITE) for trial in trials):
        return "tie"
    if any(trial.count(GradientOutcome.RAISED) for trial in trials):
        return "raises"
    if any(trial.count(GradientOutcome.WRONG) for trial in trials):
        return "wrong"
    return "by_chance" if measured.spectrum.ties else "right"


def _instead(measured: MatrixMeasurement) -> Trial | None:
    """The right lines for the use that torch fails at and that most people ask for."""
    bad = [one for one in _torch_answers(measured) if _bad(one)]
    best = [one.best for one in bad if one.best is not None]
    others = [one.best for one in measured.answers.values() if one.best is not None]
    return next(iter([*best, *others]), None)


def _others(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Methods whose gradient is finite at a tie or a small gap, and not the true one."""
    worst = next((one for one in evidence.measured if one.methods), None)
    if worst is None or _judged(worst) not in {"tie", "wrong"}:
        return
    uses = list(dict.fromkeys(use for row in worst.methods.values() for use, _ in row))
    if not uses:
        return
    key = (uses[0], worst.spectrum.precision)
    errors = {
        name: row[key].error
        for name, row in worst.methods.items()
        if name != TORCH and row[key].outcome is GradientOutcome.WRONG
    }
    if errors:
        yield finding(
            "finite_is_not_right",
            label=worst.spectrum.label,
            noun=USES[uses[0]].noun,
            precision=worst.spectrum.precision,
            errors=errors,
            least=min(errors, key=errors.__getitem__),
            most=max(errors, key=errors.__getitem__),
            methods=len(worst.methods),
        )
