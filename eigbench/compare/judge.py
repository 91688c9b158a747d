"""The comparison: matched cases are judged by the rule of their kind, all tests together.

Whether a difference is shown is decided once for all cases, in `report.stats.decide`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from eigbench.compare.match import Unit, differences, environments, match, units
from eigbench.compare.model import (
    BETTER,
    CHANGED,
    WORSE,
    Answer,
    CaseComparison,
    Comparison,
    Effect,
    Outcome,
    Side,
    Unmatched,
    Verdict,
)
from eigbench.compare.rules import Context, Finding, ended, judge
from eigbench.compare.text import kind_of, named
from eigbench.errors import InputError
from eigbench.report import stats
from eigbench.report.stats import Decision
from eigbench.runs.store import Run
from eigbench.runs.suite import cases

Named = tuple[str, Run]
"""A folder, and the run in it."""


def compare_runs(a: Named, b: Named, threshold: float) -> Comparison:
    """Run b compared with run a; `InputError` if they have no case in common."""
    matched = match(units(a[1].records), units(b[1].records))
    if not matched.pairs:
        raise InputError(
            f"{a[0]} and {b[0]} have no case in common: {_kinds(a[1])} in the first, "
            f"{_kinds(b[1])} in the second"
        )
    where = environments(a[1], b[1])
    context = Context(where, matched.pairs)
    findings = [judge(one, other, context) for one, other in matched.pairs]
    decisions = iter(stats.decide([None if f.given else f.found for own in findings for f in own]))
    every = [*(one for one, _ in matched.pairs), *matched.only_a, *matched.only_b]
    names = iter(named([unit.case for unit in every]))
    compared = []
    for (one, other), own in zip(matched.pairs, findings, strict=True):
        effects = tuple(_effect(finding, next(decisions), threshold) for finding in own)
        compared.append(
            CaseComparison(
                name=next(names),
                case=one.case,
                differs=differences(one, other),
                a=_outcome(one),
                b=_outcome(other),
                verdict=_verdict({effect.answer for effect in effects}),
                regression=any(effect.regression for effect in effects),
                effects=effects,
            )
        )
    return Comparison(
        cases=tuple(compared),
        a=_side(a, [(unit, next(names)) for unit in matched.only_a]),
        b=_side(b, [(unit, next(names)) for unit in matched.only_b]),
        environment=where.differences,
        same_machine=where.same_machine,
        same_torch=where.same_torch,
        tests=sum(not math.isnan(effect.adjusted) for one in compared for effect in one.effects),
        threshold=threshold,
    )


def _effect(finding: Finding, decision: Decision, threshold: float) -> Effect:
    """The finding, now that its p-value is corrected."""
    quantity, found = finding.quantity, finding.found
    change, low, high, p = finding.change, math.nan, math.nan, math.nan
    if found is not None:
        ends = np.array([found.value, found.low, found.high])
        with np.errstate(over="ignore"):
            change, low, high = (np.exp(ends) if quantity.scale == "ratio" else ends).tolist()
        p = math.nan if finding.given else found.p
    answer: Answer = finding.given or "no difference shown"
    if not finding.given and decision.answer == "not tested":
        answer = "not tested"
    elif decision.shown:
        answer = quantity.changed(change)
    return Effect(
        quantity=quantity.name,
        relative_to=finding.relative_to,
        a=finding.values[0],
        b=finding.values[1],
        scale=quantity.scale,
        change=change,
        low=low,
        high=high,
        p=p,
        adjusted=decision.adjusted,
        answer=answer,
        regression=answer in WORSE and (answer != "slower" or change > 1 + threshold),
        note=finding.note,
    )


def _verdict(answers: set[Answer]) -> Verdict:
    """All that is shown of a case in one word."""
    worse, better = not answers.isdisjoint(WORSE), not answers.isdisjoint(BETTER)
    if worse or better:
        return "mixed" if worse and better else "worse" if worse else "better"
    if not answers.isdisjoint(CHANGED):
        return "changed"
    if "no difference shown" in answers:
        return "no difference shown"
    # One number that is equal says nothing of another that could not be tested or judged.
    if answers == {"equal"}:
        return "equal"
    return "not tested" if "not tested" in answers or not answers else "not judged"


def _outcome(unit: Unit) -> Outcome:
    return Outcome(
        ids=unit.ids,
        ended=dict(Counter(map(ended, unit.records))),
        reasons=tuple(dict.fromkeys(record.reason for record in unit.records if record.reason)),
    )


def _side(of: Named, only: Sequence[tuple[Unit, str]]) -> Side:
    folder, run = of
    recorded = {record.id for record in run.records}
    sessions = run.environment.sessions
    return Side(
        folder=folder,
        title=run.suite.title or run.suite.name,
        started_at=sessions[0].started_at if sessions else "",
        recorded=len(recorded),
        missing=sum(case.id not in recorded for case in cases(run.suite)),
        only=tuple(Unmatched(ids=unit.ids, name=name, case=unit.case) for unit, name in only),
    )


def _kinds(run: Run) -> str:
    kinds = Counter(kind_of(record.case) for record in run.records)
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
