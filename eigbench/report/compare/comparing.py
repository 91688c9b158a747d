"""The comparison itself: cases are matched, their quantities drafted, and judged all together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from eigbench.errors import InputError
from eigbench.kinds.invariance import InvarianceCase
from eigbench.kinds.path import PathCase
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.train import TrainCase
from eigbench.report.compare import environments, probes, profiles, series, stability, trainings
from eigbench.report.compare.chance import adjusted
from eigbench.report.compare.effects import Draft, settle, statuses, verdict
from eigbench.report.compare.matching import Pair, Unit, match, units
from eigbench.report.compare.naming import kind_of, named
from eigbench.report.compare.result import CaseComparison, Comparison, Outcome, Side, Unmatched
from eigbench.report.rows import Row, stability_rows
from eigbench.report.training.cells import Trial
from eigbench.runs.record import Record
from eigbench.runs.store import Run

Named = tuple[str, Run]
"""A run, and the folder that it is in."""


def compared(a: Named, b: Named, threshold: float) -> Comparison:
    """Run b held against run a; `InputError` if they have no case in common."""
    matched = match(units(a[1].records), units(b[1].records))
    if not matched.pairs:
        raise InputError(
            f"{a[0]} and {b[0]} have no case in common: {_held(a[1])} in the first, "
            f"{_held(b[1])} in the second"
        )
    both = _Both(a[1], b[1], matched.pairs)
    drafts = [both.drafts(pair) for pair in matched.pairs]
    tested = [d.found.p for each in drafts for d in each if d.tested and d.found is not None]
    raised = iter(adjusted(tested))
    effects = [
        tuple(settle(d, next(raised) if d.tested else math.nan, threshold) for d in each)
        for each in drafts
    ]
    units_of = [*(pair.a for pair in matched.pairs), *matched.only_a, *matched.only_b]
    names = iter(named([unit.case for unit in units_of]))
    return Comparison(
        cases=tuple(
            CaseComparison(
                name=next(names),
                case=pair.a.case,
                differs=_differs(pair),
                a=_outcome(pair.a),
                b=_outcome(pair.b),
                verdict=verdict(own),
                effects=own,
            )
            for pair, own in zip(matched.pairs, effects, strict=True)
        ),
        a=_side(a, [(unit, next(names)) for unit in matched.only_a]),
        b=_side(b, [(unit, next(names)) for unit in matched.only_b]),
        environment=environments.apart(a[1], b[1]),
        same_machine=both.terms.same_machine,
        same_torch=both.terms.same_torch,
        tests=len(tested),
        threshold=threshold,
    )


class _Both:
    """The two runs, and what can be held against what in them."""

    def __init__(self, a: Run, b: Run, pairs: Sequence[Pair]) -> None:
        self.a, self.b = a, b
        same_machine, same_torch = environments.same_machine(a, b), environments.same_torch(a, b)
        self.terms = profiles.Terms(same_machine=same_machine, same_torch=same_torch)
        rows = [rows for pair in pairs if (rows := _rows(pair)) is not None]
        # Another torch rounds in another way, wherever that shows.
        self.repeating = stability.repeating(rows) if same_torch else frozenset[str]()

    def drafts(self, pair: Pair) -> list[Draft]:
        """All effects of a pair."""
        if isinstance(pair.a.case, TrainCase):
            ours = trainings.trained(pair.a, self.a.records)
            theirs = trainings.trained(pair.b, self.b.records)
            same = self.terms.same_machine
            return [
                *trainings.status_drafts(pair.a, pair.b),
                *trainings.drafts(ours, theirs, same_machine=same),
            ]
        a, b = pair.a.records[0], pair.b.records[0]
        if a.status != "measured" or b.status != "measured":
            return statuses([(a, b)])
        if isinstance(pair.a.case, ProfileCase):
            return profiles.drafts(a, b, self.terms)
        if isinstance(pair.a.case, InvarianceCase | PathCase):
            return probes.drafts(a, b, repeats=pair.a.case.dtype in self.repeating)
        rows = _rows(pair)
        if rows is None:
            return series.drafts(a, b)
        return stability.drafts(*rows, repeats=rows[0].case.dtype in self.repeating)


def _rows(pair: Pair) -> tuple[Row, Row] | None:
    """Both as rows, if they are measurements of stability."""
    rows = stability_rows([*pair.a.records, *pair.b.records])
    return (rows[0], rows[1]) if len(rows) == 2 else None


def _differs(pair: Pair) -> dict[str, tuple[str, str]]:
    hashes = [trainings.images(unit) for unit in (pair.a, pair.b)]
    apart = all(hashes) and hashes[0] != hashes[1]
    return {**pair.differs, **({"images": (hashes[0], hashes[1])} if apart else {})}


def _outcome(unit: Unit) -> Outcome:
    return Outcome(
        ids=tuple(record.id for record in unit.records),
        ended=dict(Counter(map(_ended, unit.records))),
        reasons=tuple(dict.fromkeys(record.reason for record in unit.records if record.reason)),
    )


def _ended(record: Record) -> str:
    if isinstance(record.case, TrainCase) and record.status == "measured":
        return Trial(record, record.case).outcome
    return record.status


def _side(of: Named, only: Sequence[tuple[Unit, str]]) -> Side:
    folder, run = of
    sessions = run.environment.sessions
    return Side(
        folder=folder,
        title=run.suite.title or run.suite.name,
        started_at=sessions[0].started_at if sessions else "",
        recorded=len({record.id for record in run.records}),
        missing=len(run.missing),
        only=tuple(
            Unmatched(ids=tuple(r.id for r in unit.records), name=name, case=unit.case)
            for unit, name in only
        ),
    )


def _held(run: Run) -> str:
    kinds = Counter(kind_of(record.case) for record in run.records)
    return ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
