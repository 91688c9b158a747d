"""Two sums of the series behind the power-iteration gradient: the same numbers, or not."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.compare.effects import Draft, Quantity, exact
from eigbench.runs.record import Number, Record

VALUES = Quantity("values that differ", "changed", "changed", scale="difference")
ROUNDING = Quantity("rounding error", "less accurate", "more accurate", least=2.0)


def drafts(a: Record, b: Record) -> list[Draft]:
    """How many values are not the same, and the largest rounding error of a sum."""
    names = dict.fromkeys([*a.samples, *b.samples])
    apart = {name: _apart(a.samples.get(name, []), b.samples.get(name, [])) for name in names}
    said = [f"{name} ({count})" for name, count in apart.items() if count]
    found = [exact(VALUES, 0.0, float(sum(apart.values())), note=", ".join(said))]
    errors = [record.values("sum_rounding_error") for record in (a, b)]
    if all(errors):
        found.append(exact(ROUNDING, max(errors[0]), max(errors[1])))
    return found


def _apart(a: Sequence[Number], b: Sequence[Number]) -> int:
    """NaN is written as a word in a record, and is the same as another."""
    shared = sum(one != other for one, other in zip(a, b, strict=False))
    return shared + abs(len(a) - len(b))
