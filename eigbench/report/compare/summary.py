"""The comparison in a few sentences."""

from __future__ import annotations

import numpy as np

from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report.compare.naming import kind_of
from eigbench.report.compare.result import BETTER, WORSE, Answer, CaseComparison, Comparison, Effect
from eigbench.report.compare.writing import change, factor
from eigbench.report.markdown import percent

_FIRST = 3
"""So many cases are named in a sentence; all of them are in the lists below it."""


def sentences(found: Comparison) -> list[str]:
    """What was compared, what differs, how small a difference could have been seen."""
    return [
        *_counted(found),
        *_differences(found),
        *_seen(found),
        *_references(found),
        _regressions(found),
    ]


def cases(count: int, what: str = "case") -> str:
    """A number of cases in words."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def effects_of(case: CaseComparison, answer: Answer) -> list[Effect]:
    """The effects of a case with this answer."""
    return [effect for effect in case.effects if effect.answer == answer]


def with_answer(found: Comparison, answer: Answer) -> list[CaseComparison]:
    """The cases with such an effect, the largest change first."""
    chosen = [case for case in found.cases if effects_of(case, answer)]
    return sorted(chosen, key=lambda case: -_size(effects_of(case, answer)[0]))


def _size(effect: Effect) -> float:
    """How far a change is from none, of a ratio in either direction; an unknown one is large."""
    distance = np.log(effect.change) if effect.scale == "ratio" else effect.change
    return float(abs(distance)) if np.isfinite(distance) else np.inf


def _counted(found: Comparison) -> list[str]:
    trained = {kind_of(case.case) for case in found.cases} == {"train"}
    compared = cases(len(found.cases), "cell of trainings" if trained else "case")
    compared = compared.replace("cell of trainingss", "cells of trainings")
    said = [
        f"{compared} {'is' if len(found.cases) == 1 else 'are'} in both runs, "
        f"{len(found.a.only)} only in A, {len(found.b.only)} only in B."
    ]
    for name, side in (("A", found.a), ("B", found.b)):
        if side.missing:
            said.append(
                f"**{name} is partial**: {side.recorded} of {side.recorded + side.missing} cases "
                "of its suite are recorded; it was interrupted or is still going on. It is "
                "compared as far as it goes."
            )
    return said


def _differences(found: Comparison) -> list[str]:
    """Which cases are worse or better in B, and how many are not."""
    said = []
    for answer in (*WORSE, *BETTER):
        chosen = with_answer(found, answer)
        if chosen:
            named = [_named(case, effects_of(case, answer)[0]) for case in chosen]
            more = ", ..." if len(named) > _FIRST else ""
            said.append(
                f"**{answer.capitalize()}** in B: {cases(len(chosen))} "
                f"({'; '.join(named[:_FIRST])}{more})."
            )
    return said or ["No case is shown to be better or worse in B."]


def _named(case: CaseComparison, effect: Effect) -> str:
    return case.name if effect.quantity == "failures" else f"{case.name}: {change(effect)}"


def _seen(found: Comparison) -> list[str]:
    """What could have been missed."""
    ends = [
        effect.high
        for case in found.cases
        for effect in case.effects[:1]
        if effect.answer == "no difference shown" and effect.quantity == "time"
    ]
    if not ends:
        return []
    return [
        f"In {cases(len(ends))} no difference in time is shown. Half of their intervals reach up "
        f"to {factor(float(np.median(ends)))} or further: a slow-down that is smaller cannot be "
        "told from none there."
    ]


def _references(found: Comparison) -> list[str]:
    """What the machine did meanwhile, as its references tell."""
    if found.same_machine and not found.same_torch:
        return []  # they are judged like everything else
    own = [case for case in found.cases if _is_first_reference(case)]
    ratios = [e.change for case in own for e in case.effects if e.quantity == "time"]
    known = np.array([ratio for ratio in ratios if np.isfinite(ratio)])
    if not len(known):
        return []
    why = "that is the drift" if found.same_machine else "that is the machine"
    return [
        f"The references themselves took {factor(float(np.median(known)))} as long in B "
        f"({factor(float(known.min()))} to {factor(float(known.max()))} in "
        f"{cases(len(known), 'workload')}): {why}, which the ratios do not have."
    ]


def _is_first_reference(case: CaseComparison) -> bool:
    own = case.case
    return isinstance(own, ProfileCase) and own.method == REFERENCES[own.subject][0]


def _regressions(found: Comparison) -> str:
    count = len(found.regressions)
    said = f"**{cases(count, 'regression')}**" if count else "**No regression**"
    return (
        f"{said}: a case is one if it is slower by more than {percent(found.threshold)}, fails "
        "more or is less accurate in B, beyond chance."
    )
