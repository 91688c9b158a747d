"""The comparison: matched cases are judged by the rule of their kind, all tests together.

Whether a difference is shown is decided once for all cases, in `report.stats.decide`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from eigbench.compare import match, text
from eigbench.compare.effects import finalize, verdict
from eigbench.compare.match import Pair, Unit
from eigbench.compare.model import CaseComparison, Comparison, Outcome, Side, Unmatched
from eigbench.compare.rules import RULES, Context, ended
from eigbench.errors import InputError
from eigbench.report import stats
from eigbench.runs.store import Run
from eigbench.runs.suite import cases

Named = tuple[str, Run]
"""A folder, and the run in it."""


def compare_runs(a: Named, b: Named, threshold: float) -> Comparison:
    """Run b compared with run a; `InputError` if they have no case in common."""
    matched = match.match(match.units(a[1].records), match.units(b[1].records))
    if not matched.pairs:
        raise InputError(
            f"{a[0]} and {b[0]} have no case in common: {_kinds(a[1])} in the first, "
            f"{_kinds(b[1])} in the second"
        )
    context = Context(a[1], b[1], matched.pairs)
    pending = [RULES[type(pair.a.case)](pair, context) for pair in matched.pairs]
    decisions = iter(stats.decide([None if p.given else p.found for one in pending for p in one]))
    effects = [tuple(finalize(p, next(decisions), threshold) for p in one) for one in pending]
    every = [*(pair.a for pair in matched.pairs), *matched.only_a, *matched.only_b]
    names = iter(text.named([unit.case for unit in every]))
    return Comparison(
        cases=tuple(
            CaseComparison(
                name=next(names),
                case=pair.a.case,
                differs={**pair.differs, **_other_images(pair)},
                a=_outcome(pair.a),
                b=_outcome(pair.b),
                verdict=verdict(own),
                effects=own,
            )
            for pair, own in zip(matched.pairs, effects, strict=True)
        ),
        a=_side(a, [(unit, next(names)) for unit in matched.only_a]),
        b=_side(b, [(unit, next(names)) for unit in matched.only_b]),
        environment=match.environment_diffs(a[1], b[1]),
        same_machine=context.same_machine,
        same_torch=context.same_torch,
        tests=sum(not math.isnan(effect.adjusted) for own in effects for effect in own),
        threshold=threshold,
    )


def _other_images(pair: Pair) -> dict[str, tuple[str, str]]:
    """The starts of the SHA-256 of the images, where trials of both runs recorded others."""
    found = []
    for unit in (pair.a, pair.b):
        hashes = {tuple(record.labels.get("data", ())[1:]) for record in unit.records} - {()}
        found.append(", then ".join("/".join(sha[:8] for sha in one) for one in sorted(hashes)))
    return {"images": (found[0], found[1])} if all(found) and found[0] != found[1] else {}


def _outcome(unit: Unit) -> Outcome:
    return Outcome(
        ids=tuple(record.id for record in unit.records),
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
        only=tuple(
            Unmatched(ids=tuple(r.id for r in unit.records), name=name, case=unit.case)
            for unit, name in only
        ),
    )


def _kinds(run: Run) -> str:
    kinds = Counter(text.kind_of(record.case) for record in run.records)
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
