"""Findings about the backward pass: NaN, infinite, or finite and wrong, as it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

from eigbench.diagnosis.facts import PRECISIONS, epsilon
from eigbench.diagnosis.findings import Evidence, Finding, Severity
from eigbench.diagnosis.trials import Measured, Outcome, Trial
from eigbench.diagnosis.uses import FUNCTIONS_OF_M, NOUNS
from eigbench.diagnosis.writing import labels, listed, number, off, whose

TORCH = "eigh"
"""The method that is `torch.linalg.eigh`."""

OF_M = 'eigbench.matrix_function(M, "inverse-square-root")'
INSTEAD = f"""\
# instead of
#   values, V = torch.linalg.eigh(M)
#   S = V @ torch.diag(values**-0.5) @ V.mT
S = {OF_M}"""
DOUBLE = "values, V = torch.linalg.eigh(M.double())"


class Verdict(IntEnum):
    """The worst that happened to `torch.linalg.eigh` on one matrix in one precision."""

    FAILS = 0
    WRONG = 1
    RIGHT = 2
    NOTHING = 3


_VERDICTS = {
    Outcome.NAN: Verdict.FAILS,
    Outcome.INFINITE: Verdict.FAILS,
    Outcome.RAISED: Verdict.FAILS,
    Outcome.WRONG: Verdict.WRONG,
    Outcome.RIGHT: Verdict.RIGHT,
    Outcome.UNKNOWN: Verdict.NOTHING,
    Outcome.REFUSED: Verdict.NOTHING,
}


def verdict(measured: Measured, precision: str) -> Verdict:
    """The worst that `torch.linalg.eigh` does to any use of this matrix."""
    trials = measured.of(TORCH, precision)
    return min((_VERDICTS[trial.outcome] for trial in trials), default=Verdict.NOTHING)


def findings(evidence: Evidence) -> Iterator[Finding]:
    """What `torch.linalg.eigh` does, then which methods are finite but wrong."""
    makers = {Verdict.FAILS: _fails, Verdict.WRONG: _wrong, Verdict.RIGHT: _right}
    for kind, maker in makers.items():
        some = [one for one in evidence.measured if verdict(one, evidence.precision) == kind]
        if some:
            yield from maker(evidence, some)
    yield from _bounded_but_wrong(evidence)
    yield from _no_pairs(evidence)


def _fails(evidence: Evidence, some: Sequence[Measured]) -> Iterator[Finding]:
    first = some[0]
    trials = [t for t in first.of(TORCH, evidence.precision) if _VERDICTS[t.outcome] == 0]
    what = listed(list(dict.fromkeys(trial.outcome.value for trial in trials)))
    raised = next((trial.reason for trial in trials if trial.outcome is Outcome.RAISED), "")
    yield Finding(
        Severity.FAILS,
        f"torch.linalg.eigh: {what} in the backward pass ({evidence.precision})",
        f"{_whose(evidence, some)}: {_outcomes(first)} {_gap(first)} {raised}".rstrip(),
        "The derivative of an eigenvector divides by the gap to every other eigenvalue. Where two "
        "are equal it divides 0 by 0, and one NaN spoils the gradient of every parameter that M "
        "depends on, at the next step every parameter. The forward pass shows nothing of it. "
        "M + εI does not help: it moves all eigenvalues and opens no gap.",
        "If you make a function of M, such as M^(−1/2), do not differentiate its eigenvectors: the "
        "function has an exact derivative at any gap. A single eigenvector of equal eigenvalues "
        "has none, whatever the method: change the loss so that it does not depend on it.",
        INSTEAD,
    )


def _wrong(evidence: Evidence, some: Sequence[Measured]) -> Iterator[Finding]:
    first = some[0]
    precision = evidence.precision
    other = verdict(first, PRECISIONS[1]) == Verdict.RIGHT and precision != PRECISIONS[1]
    hint = " In float64 it is right." if other else ""
    of_m = any(
        t.use in FUNCTIONS_OF_M and t.outcome is Outcome.WRONG for t in first.of(TORCH, precision)
    )
    yield Finding(
        Severity.WRONG,
        f"torch.linalg.eigh: the gradient is finite but wrong ({precision})",
        f"{_whose(evidence, some)}: {_outcomes(first)} {_gap(first)}",
        f"Nothing warns of this. Rounding moves eigenvalues by about ε·‖M‖, here "
        f"{number(epsilon(precision) * first.facts.largest)}; a gap that is not much wider has few "
        f"digits left, and the gradient is divided by it.{hint}",
        ("For a function of M use its exact derivative, which divides by no gap. " if of_m else "")
        + "For the eigenvectors of the closest pair more digits help, or a loss that does not "
        "depend on them one by one.",
        INSTEAD if of_m else DOUBLE,
    )


def _right(evidence: Evidence, some: Sequence[Measured]) -> Iterator[Finding]:
    tied = [one for one in some if one.facts.tied(evidence.precision)]
    wide = [one for one in some if one not in tied]
    if tied:
        yield Finding(
            Severity.BEWARE,
            f"torch.linalg.eigh: right by chance ({evidence.precision})",
            f"{_whose(evidence, tied)}: {_outcomes(tied[0])} {_gap(tied[0])}",
            "Such a gap is rounding: on another machine, or at the next step, it may come out as "
            "zero, and the gradient as NaN. For these losses the tied eigenvectors happened to "
            "count for nothing; one that depends on them has no derivative here.",
            "For a function of M use its exact derivative, which divides by no gap.",
            INSTEAD,
        )
    if wide:
        yield Finding(
            Severity.WELL,
            f"torch.linalg.eigh: the gradient is right ({evidence.precision})",
            f"{_whose(evidence, wide)}: {_outcomes(wide[0])} {_gap(wide[0])}",
            "The gaps between the eigenvalues are wide enough for this precision.",
        )


def _bounded_but_wrong(evidence: Evidence) -> Iterator[Finding]:
    """Methods that survive a tie or a small gap, with another gradient than the true one."""
    for one in evidence.measured[:1]:
        if verdict(one, evidence.precision) > Verdict.WRONG:
            return
        use = one.uses[0].name
        trials = [one.trial(method, use, evidence.precision) for method in one.methods]
        wrong = [t for t in trials if t.method != TORCH and t.outcome is Outcome.WRONG]
        if not wrong:
            return
        least, most = (pick(wrong, key=lambda t: t.error) for pick in (min, max))
        extent = f"off by {off(least.error)} (`{least.method}`)"
        if least is not most:
            extent += f" to {off(most.error)} (`{most.method}`)"
        yield Finding(
            Severity.NOTE,
            "Finite is not the same as right",
            f"{one.facts.label}, {NOUNS[use]}, {evidence.precision}: {len(wrong)} of "
            f"{len(trials)} methods give a finite gradient that is wrong, {extent}. The table "
            "below has them all.",
            "Most of them cap or smooth 1/gap. Training goes on, along another gradient than that "
            "of the loss; over 100 % off, it may point the other way.",
        )


def _no_pairs(evidence: Evidence) -> Iterator[Finding]:
    some = [facts for facts in evidence.facts if facts.n == 1]
    if some:
        yield Finding(
            Severity.NOTE,
            "A 1×1 matrix has no gap",
            f"{labels(some, evidence.total)}.",
            "Its eigenvector is 1 and has no derivative; its eigenvalue is the entry itself.",
        )


def _whose(evidence: Evidence, some: Sequence[Measured]) -> str:
    named = whose([one.facts for one in some], some[0].facts, evidence.total)
    extent = " (of those that were measured)" if evidence.total > len(evidence.measured) else ""
    return named + extent


def _outcomes(measured: Measured) -> str:
    """What happened in each precision, such as "in float32 NaN for …; in float64 right"."""
    said = {precision: _in_words(measured.of(TORCH, precision)) for precision in PRECISIONS}
    if len(set(said.values())) == 1:
        return f"in {listed(PRECISIONS)} {said[PRECISIONS[0]]}."
    return "; ".join(f"in {precision} {words}" for precision, words in said.items()) + "."


def _in_words(trials: Sequence[Trial]) -> str:
    bad = [trial for trial in trials if _VERDICTS[trial.outcome] <= Verdict.WRONG]
    if not bad:
        errors = [trial.error for trial in trials if trial.outcome is Outcome.RIGHT]
        return f"right, off by at most {off(max(errors))}" if errors else "not applicable"
    return listed(
        [
            f"{off(trial.error)} off for {NOUNS[trial.use]}"
            if trial.outcome is Outcome.WRONG
            else f"{trial.outcome.value} for {NOUNS[trial.use]}"
            for trial in bad
        ]
    )


def _gap(measured: Measured) -> str:
    pair = measured.facts.narrowest
    if pair is None:
        return ""
    if pair.share == 0:
        return f"{pair.name} are equal."
    return f"{pair.name} are {number(pair.gap)} apart, {number(pair.share)} of ‖M‖."
