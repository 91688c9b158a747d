"""The comparison: matched cases are judged by the rule of their kind, all tests together.

Whether a difference is shown is decided once for all cases, in `report.stats.decide`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name

from msgspec.structs import replace

from eigbench.compare import model
from eigbench.compare.match import MACHINE, Unit, differences, environments, match, units
from eigbench.compare.model import WORSE, CaseComparison, Comparison, Effect, Outcome, Side
from eigbench.compare.rules import Context, Quantity, Rule, ended, repeating
from eigbench.errors import InputError
from eigbench.kinds import KINDS
from eigbench.report import names, stats
from eigbench.runs.record import Record
from eigbench.runs.store import Run

Named = tuple[str, Run]
"""A folder, and the run in it."""
FAILURES = Quantity("failures", "fails more", "fails less", "difference")


def compare_runs(a: Named, b: Named, threshold: float) -> Comparison:
    """Run b compared with run a; `InputError` if they have no case in common."""
    pairs, only_a, only_b = match(units(a[1].records), units(b[1].records))
    if not pairs:
        raise InputError(
            f"{a[0]} and {b[0]} have no case in common: {_kinds(a[1])} in the first, "
            f"{_kinds(b[1])} in the second"
        )
    different, same = environments(a[1], b[1])
    same_machine, same_torch = same >= MACHINE, "torch" in same
    context = Context(same_machine, same_torch, repeating(pairs) if same_torch else frozenset())
    found = [_effects(one, other, context) for one, other in pairs]
    decided = iter(_decided([effect for own in found for effect in own], threshold))
    every = [*(one for one, _ in pairs), *only_a, *only_b]
    differ = [differences(*pair) for pair in pairs]
    # Of pairs that differ, in the device, each name is one of both.
    said, _ = names.of_cases([one.case for one in every], {axis for own in differ for axis in own})
    named = dict(zip(map(id, every), said, strict=True))
    cases = []
    for (one, other), own, differs in zip(pairs, found, differ, strict=True):
        effects = tuple(next(decided) for _ in own)
        cases.append(
            CaseComparison(
                name=named[id(one)],
                case=one.case,
                differs=differs,
                a=_outcome(one),
                b=_outcome(other),
                verdict=model.verdict({effect.answer for effect in effects}),
                regression=any(effect.regression for effect in effects),
                effects=effects,
            )
        )
    return Comparison(
        cases=tuple(cases),
        a=_side(a, only_a, named),
        b=_side(b, only_b, named),
        environment=different,
        same_machine=same_machine,
        same_torch=same_torch,
        tests=sum(not math.isnan(effect.adjusted) for case in cases for effect in case.effects),
        threshold=threshold,
    )


def _effects(a: Unit, b: Unit, context: Context) -> list[Effect]:
    """All quantities of two units, before the correction for all tests."""
    kind = KINDS[a.case.kind]
    found = _statuses([(a.trials[seed], b.trials[seed]) for seed in a.trials if seed in b.trials])
    tried = [[one for one in unit.trials.values() if one.status != "skipped"] for unit in (a, b)]
    failed = any(one.status == "failed" for side in tried for one in side)
    if all(tried) and (kind.has_trials or not failed):
        rule: Rule = resolve_name(kind.comparison)
        found += rule(tried[0], tried[1], context)
    return found


def _statuses(pairs: Sequence[tuple[Record, Record]]) -> list[Effect]:
    """What became of the same cases in both runs, if it is not the same; else nothing.

    A failure that is new is worse and one that is gone is better, without a test: a method raised
    an exception, which it does not do by chance. A case that only one of the runs skipped is a
    change.
    """
    different = [(a, b) for a, b in pairs if a.status != b.status]
    if not different and any(a.status == "measured" for a, _ in pairs):
        return []
    changes = Counter(f"{a.status} → {b.status}" for a, b in different)
    words = [f"{one} ({count} trials)" if count > 1 else one for one, count in changes.items()]
    reasons = dict.fromkeys(r.reason for pair in different for r in pair if r.reason)
    failed = [float(sum(pair[side].status == "failed" for pair in pairs)) for side in (0, 1)]
    found = FAILURES.exact(failed[0], failed[1], "; ".join([*words, *reasons]))
    return [replace(found, answer="changed") if different and found.answer == "equal" else found]


def _decided(found: Sequence[Effect], threshold: float) -> list[Effect]:
    """The effects after the correction of all p-values, and whether they are regressions."""
    asked = [stats.Interval(one.change, p=one.p, least_p=one.least_p) for one in found]
    decided = []
    for one, decision in zip(found, stats.decide(asked), strict=True):
        tested = not math.isnan(one.p)
        answer = "no difference shown" if tested and not decision.shown else one.answer
        worse = answer in WORSE and (answer != "slower" or one.change > 1 + threshold)
        decided.append(replace(one, answer=answer, adjusted=decision.adjusted, regression=worse))
    return decided


def _outcome(unit: Unit) -> Outcome:
    records = unit.trials.values()
    return Outcome(
        ids=tuple(record.id for record in records),
        ended=dict(Counter(map(ended, records))),
        reasons=tuple(dict.fromkeys(record.reason for record in records if record.reason)),
    )


def _side(of: Named, only: Sequence[Unit], named: Mapping[int, str]) -> Side:
    folder, run = of
    sessions = run.environment.sessions
    return Side(
        folder=folder,
        title=run.suite.title or run.suite.name,
        started_at=sessions[0].started_at if sessions else "",
        recorded=len({record.id for record in run.records}),
        missing=len(run.missing),
        only=tuple(
            model.Unmatched(ids=_outcome(one).ids, name=named[id(one)], case=one.case)
            for one in only
        ),
    )


def _kinds(run: Run) -> str:
    kinds = Counter(record.case.kind for record in run.records)
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
