"""What failed and what was skipped, with reasons: nothing is dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from eigbench.report.chapters.trials import PLACE
from eigbench.report.markdown import NOTHING, axis_value, table
from eigbench.report.names import word
from eigbench.report.profile import naming
from eigbench.report.rows import Row, stability_rows
from eigbench.runs.case import InvarianceCase, PathCase, ProfileCase, SeriesCase, TrainCase
from eigbench.runs.record import Record

_Groups = dict[tuple[str, str], list[tuple[Record, int]]]
"""By method and reason: the records, and how many seeds of each."""


def sections(records: Iterable[Record]) -> list[str]:
    """A table of failures by method and reason, and one of skipped cases."""
    records = list(records)
    failed: _Groups = defaultdict(list)
    for row in stability_rows(records):
        for reason, count in _reasons(row):
            failed[row.case.method, reason].append((row.record, count))
    for record in records:
        others = TrainCase | ProfileCase | PathCase | InvarianceCase
        if isinstance(record.case, others) and record.status == "failed":
            reason = record.reason or "no reason recorded"
            failed[record.case.method, reason].append((record, 1))
    skipped: _Groups = defaultdict(list)
    for record in records:
        if record.status == "skipped":
            skipped[_method(record), record.reason or ""].append((record, 1))
    return [
        "## What failed, and why",
        _table(failed, with_seeds=_have_seeds(failed)) if failed else "Nothing failed.",
        "## What was skipped, and why",
        _table(skipped, with_seeds=False) if skipped else "Nothing was skipped.",
    ]


def _reasons(row: Row) -> list[tuple[str, int]]:
    """Each reason for which seeds of a case do not succeed, and how many seeds."""
    if row.record.status == "failed":
        return [(row.record.reason or "no reason recorded", row.case.seeds)]
    forward = row.metric("forward_finite") == 1
    defined = row.metric("function_finite") == 1
    gradient = row.metric("gradient_finite") == 1
    inside = row.metric("inside_bound") == 1
    counts = [
        ("eigenpairs not finite", int((~forward).sum())),
        ("a computed eigenvalue ≤ 0: λ^(−1/2) is not defined", int((forward & ~defined).sum())),
        ("gradient not finite", int((forward & defined & ~gradient).sum())),
        ("gradient finite, outside the bound", int((defined & gradient & ~inside).sum())),
    ]
    return [(reason, count) for reason, count in counts if count]


def _have_seeds(groups: _Groups) -> bool:
    """Whether any of the cases is measured for seeds: a profile is not."""
    return not all(
        isinstance(record.case, ProfileCase) for found in groups.values() for record, _ in found
    )


def _table(groups: _Groups, *, with_seeds: bool) -> str:
    body = []
    for (method, reason), found in groups.items():
        seeds = [_seeds(found)] if with_seeds else []
        body.append([method, reason, *seeds, str(len(found)), _example(found)])
    seeds_header = ["seeds"] if with_seeds else []
    return table(["method", "reason", *seeds_header, "cases", "first such case"], body)


def _seeds(found: list[tuple[Record, int]]) -> str:
    counts = [count for record, count in found if not isinstance(record.case, ProfileCase)]
    return str(sum(counts)) if counts else NOTHING


def _example(found: list[tuple[Record, int]]) -> str:
    case = found[0][0].case
    if isinstance(case, SeriesCase):
        return f"q = {case.ratio:g}, {case.dtype}"
    if isinstance(case, TrainCase):
        axes = (*PLACE, "iterations")
        words = [
            word(axis, getattr(case, axis)) for axis in axes if getattr(case, axis) is not None
        ]
        return f"{', '.join(words)}, seed {case.seed} (`{case.id}`)"
    if isinstance(case, ProfileCase):
        compiled = ", compiled" if case.compiled else ""
        return f"{naming.title(case)}{compiled} (`{case.id}`)"
    if isinstance(case, PathCase):
        return f"a path through a crossing, d = {case.d}, {case.loss}, {case.dtype} (`{case.id}`)"
    gap = "" if case.gap is None else f", gap {axis_value(case.gap)}"
    return (
        f"{case.spectrum}, d = {case.d}{gap}, {case.loss}, {case.dtype}, "
        f"ε = {axis_value(case.epsilon)} (`{found[0][0].id}`)"
    )


def _method(record: Record) -> str:
    return "series" if isinstance(record.case, SeriesCase) else record.case.method
