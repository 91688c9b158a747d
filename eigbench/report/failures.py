"""What failed and what was skipped, with reasons: nothing is dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from eigbench.report.markdown import axis_value, table
from eigbench.report.rows import Row, stability_rows
from eigbench.report.training.naming import PLACE, word
from eigbench.runs.case import SeriesCase, TrainCase
from eigbench.runs.record import Record


def sections(records: Iterable[Record]) -> list[str]:
    """A table of failures by method and reason, and one of skipped cases."""
    records = list(records)
    failed: dict[tuple[str, str], list[tuple[Record, int]]] = defaultdict(list)
    for row in stability_rows(records):
        for reason, count in _reasons(row):
            failed[row.case.method, reason].append((row.record, count))
    for record in records:
        if isinstance(record.case, TrainCase) and record.status == "failed":
            reason = record.reason or "no reason recorded"
            failed[record.case.method, reason].append((record, 1))
    skipped: dict[tuple[str, str], list[tuple[Record, int]]] = defaultdict(list)
    for record in records:
        if record.status == "skipped":
            skipped[_method(record), record.reason or ""].append((record, 1))
    return [
        "## What failed, and why",
        _table(failed) if failed else "Nothing failed.",
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


def _table(
    groups: dict[tuple[str, str], list[tuple[Record, int]]], *, with_seeds: bool = True
) -> str:
    body = []
    for (method, reason), found in groups.items():
        seeds = [str(sum(count for _, count in found))] if with_seeds else []
        body.append([method, reason, *seeds, str(len(found)), _example(found)])
    seeds_header = ["seeds"] if with_seeds else []
    return table(["method", "reason", *seeds_header, "cases", "first such case"], body)


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
    gap = "" if case.gap is None else f", gap {axis_value(case.gap)}"
    return (
        f"{case.spectrum}, d = {case.d}{gap}, {case.loss}, {case.dtype}, "
        f"ε = {axis_value(case.epsilon)} (`{found[0][0].id}`)"
    )


def _method(record: Record) -> str:
    return "series" if isinstance(record.case, SeriesCase) else record.case.method
