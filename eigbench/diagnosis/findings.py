"""What was found on the matrices; the words are in `templates/findings.md.j2`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from eigbench.diagnosis.sees import NO_DERIVATIVE, LossView
from eigbench.diagnosis.spectrum import Spectrum, spectrum_of, unit
from eigbench.diagnosis.trials import GradientOutcome, MatrixMeasurement, Trial

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
    ),
    Severity.WRONG: ("cancellation", "asymmetric", "own_wrong", "wrong"),
    Severity.BEWARE: ("half", "out_of_range", "singular", "ill_conditioned", "by_chance"),
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
    origin = evidence.matrices[0].origin
    saved = [finding("saved", origin=origin)] if origin else []
    before = chain(_upstream(evidence), _all(evidence))
    # The user's own loss is what counts, if it is known.
    own = next((one for one in evidence.measured if one.seen is not None), None)
    backward = [_own(own, own.seen)] if own and own.seen else _torch(evidence)
    found = chain(saved, before, backward, _others(evidence))
    return tuple(sorted(found, key=lambda one: _ORDER[one.kind]))


def _upstream(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Whether what reached the decomposition from the loss was finite, and not all zero."""
    for stack in evidence.matrices.stacks:
        for name, gradient in stack.gradients.items():
            broken = ~np.isfinite(gradient).reshape(len(gradient), -1).all(axis=1)
            if broken.any():
                label = stack.label(int(broken.argmax()))
                shown = "f(M)" if name == FUNCTION else name
                yield finding("upstream_not_finite", label=label, name=shown)
                return
        if stack.gradients and not any(map(np.any, stack.gradients.values())):
            yield finding("upstream_zero", label=stack.label(0))
            return


def _own(measured: MatrixMeasurement, seen: LossView) -> MatrixFinding:
    """The user's own loss: its right gradient, and what torch makes of it; or why it has none."""
    answer, gradient = measured.answers[YOURS], seen.gradient
    values = {"spectrum": measured.spectrum, "seen": seen, "label": measured.spectrum.label}
    if answer.torch is None or gradient is None:
        kind = "no_derivative" if seen.kind in NO_DERIVATIVE else "undetermined"
        return finding(kind, **values, reason=answer.question.reason)
    attempt = answer.torch.attempts[0]
    kind = "own_right"
    if attempt.outcome in FAILED:
        kind = "own_fails"
    elif attempt.outcome is GradientOutcome.WRONG:
        kind = "own_wrong"
    return finding(
        kind,
        **values,
        attempt=attempt,
        best=answer.best,
        printed=None if max(gradient.shape) > PRINTED else np.array2string(gradient, precision=4),
        norm=float(np.linalg.norm(gradient)),
        precision=measured.spectrum.precision,
    )


def _all(evidence: Evidence) -> Iterator[MatrixFinding]:
    """What the matrices are, before anything is differentiated."""
    cancelled = False
    for kind, group in evidence.census.groups.items():
        worst = evidence.matrices[group.worst]
        about = {
            "whose": _whose(evidence, group),
            "worst": worst,
            "precision": evidence.precision,
            "unit": unit,
            "limits": FLOAT32,
            "tolerance": SYMMETRY_TOLERANCE,
            "asymmetry": group.badness,
        }
        if kind == "not_finite":
            broken = np.argwhere(~np.isfinite(worst.entries))
            yield finding(kind, **about, count=len(broken), first=broken[0])
            continue
        measured = [one for one in evidence.measured if one.spectrum.label == worst.label]
        spectrum = measured[0].spectrum if measured else spectrum_of(worst)
        about["spectrum"] = spectrum
        grain = 0.0
        if kind in {"asymmetric", "indefinite"} and spectrum.negative:
            grain = _grain(spectrum, worst.entries)
        if grain and not cancelled:
            cancelled = True
            yield finding("cancellation", **about, grain=grain)
        elif kind == "singular":
            yield _singular([*measured, *evidence.measured], about)
        elif not grain:
            yield finding(kind, **about)


def _whose(evidence: Evidence, group: Group) -> str:
    """Which matrices it is about, and which of them is the worst."""
    matrices = evidence.matrices
    named = ", ".join(page.code(matrices[i].label) for i in group.first)
    if group.count == 1:
        return named
    more = ", …" if group.count > NAMED else ""
    worst = page.code(matrices[group.worst].label)
    return f"{group.count} of {len(matrices)} matrices ({named}{more}); the worst, {worst}"


def _grain(spectrum: Spectrum, entries: Numbers) -> float:
    """The power of two of which all entries are multiples, if it tells of larger numbers; else 0.

    Halves and whole numbers tell nothing: people write them.
    """
    parts = np.abs(np.concatenate([entries.real.ravel(), entries.imag.ravel()]))
    fraction, exponent = np.frexp(parts[parts > 0])
    bits = (fraction * 2.0**53).astype(np.int64)
    trailing = np.log2((bits & -bits).astype(np.float64))
    grain = float(2.0 ** np.min(exponent - 53 + trailing))
    return grain if grain > COARSE * spectrum.norm and grain not in WRITTEN else 0.0


def _singular(measured: Sequence[MatrixMeasurement], about: dict[str, Any]) -> MatrixFinding:
    """Of a matrix with zeros, with the lines for M^(−1/2): its own, or those of one like it."""
    use = "inverse-square-root"
    answers = [one.answers[use] for one in measured if use in one.answers]
    like = [one for one in answers if any(trial.cure.regularised for trial in one.trials)]
    cures = [trial for one in like[:1] for trial in one.trials if trial.always_right]
    naive = next((one.torch for one in like[:1] if one.torch is not None), None)
    fails = naive is not None and (
        naive.count(*FAILED) or not all(one.forward_finite for one in naive.attempts)
    )
    kind = "zero_under_root" if fails else "singular"
    return finding(kind, **about, cures=cures, tied=bool(about["spectrum"].ties))


def _torch(evidence: Evidence) -> Iterator[MatrixFinding]:
    """The backward pass of torch's own functions, on uses that have a derivative."""
    kinds = [_judged(one) for one in evidence.measured]
    for kind in ("tie", "raises", "wrong", "by_chance", "right"):
        some = [one for one, its in zip(evidence.measured, kinds, strict=True) if its == kind]
        if not some:
            continue
        worst, spectrum = some[0], some[0].spectrum
        tried = _tried(worst)
        bad = {use: trial for use, trial in tried.items() if not trial.always_right}
        cures = [worst.answers[use].best for use in bad]
        cures += [answer.best for answer in worst.answers.values()]
        yield finding(
            kind,
            labels=", ".join(page.code(one.spectrum.label) for one in some),
            spectrum=spectrum,
            partly=len(evidence.matrices) > len(evidence.measured),
            trials={USES[use].noun: trial for use, trial in (bad or tried).items()},
            matrices=worst.copies + 1,
            precision=spectrum.precision,
            function="svd" if spectrum.svd else TORCH,
            instead=next((one for one in cures if one is not None), None),
            failed=FAILED,
            wrong=GradientOutcome.WRONG,
        )


def _tried(measured: MatrixMeasurement) -> dict[str, Trial]:
    """Torch's own lines for the uses that have a derivative."""
    some = {use: one.torch for use, one in measured.answers.items() if one.torch is not None}
    singular = bool(measured.spectrum.zeros)
    return {use: one for use, one in some.items() if not (singular and "square-root" in use)}


def _judged(measured: MatrixMeasurement) -> str:
    """The kind of finding that torch's own functions are; empty if nothing could be judged."""
    tried = _tried(measured).values()
    outcomes = {attempt.outcome for trial in tried for attempt in trial.attempts}
    if outcomes & {GradientOutcome.NAN, GradientOutcome.INFINITE}:
        return "tie"
    if GradientOutcome.RAISED in outcomes:
        return "raises"
    if GradientOutcome.WRONG in outcomes:
        return "wrong"
    return "" if not outcomes else "by_chance" if measured.spectrum.ties else "right"


def _others(evidence: Evidence) -> Iterator[MatrixFinding]:
    """Methods whose gradient is finite at a tie or a small gap, and not the true one."""
    worst = next((one for one in evidence.measured if one.methods), None)
    if worst is None or _judged(worst) not in {"tie", "wrong"}:
        return
    precision = worst.spectrum.precision
    use = next(use for use, _ in worst.methods[TORCH])
    errors = {
        name: row[use, precision].error
        for name, row in worst.methods.items()
        if name != TORCH and row[use, precision].outcome is GradientOutcome.WRONG
    }
    if errors:
        yield finding(
            "finite_is_not_right",
            label=worst.spectrum.label,
            noun=USES[use].noun,
            precision=precision,
            errors=errors,
            least=min(errors, key=errors.__getitem__),
            most=max(errors, key=errors.__getitem__),
            methods=len(worst.methods),
        )
