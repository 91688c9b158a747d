"""A comparison as Markdown that reads as well in a narrow terminal, and the names of its cases.

The words are in `report/templates/compare.md.j2`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from eigbench.compare.model import (
    BETTER,
    CHANGED,
    UNCHANGED,
    WORSE,
    CaseComparison,
    Comparison,
    Effect,
)
from eigbench.kinds import Case
from eigbench.report import names, numbers, stats
from eigbench.report.render import escape, render, table

SHOWN = (*WORSE, *BETTER, *CHANGED)
WIDTH = 80
"""Columns of a narrow terminal."""
ROWS = 12
"""The most rows of the table, and the most cases of one run alone that are listed."""

_NOT_NAMED = {"kind", "method", "parameters", "seed", "seeds", "rounds", "seconds", "trace"}
"""Fields of a case that are no part of a name."""
_LABELS = {
    ("success", "train"): "finished trials",
    ("success", "stability"): "finite gradients",
    ("success", "path"): "finite values",
    ("success", "invariance"): "finite values",
}
_BYTES = ("peak bytes", "saved bytes")
_SHARES = ("success", "test error")
_TIMES = ("time", "forward", "backward", "update", "step time")


def to_markdown(found: Comparison, *, everything: bool = False) -> str:
    """One table and a few sentences, then every change; `everything`: unchanged cases too."""
    every = [(case, effect) for case in found.cases for effect in case.effects]
    changes = _changes(every)
    changed = list({id(case): case for case, _ in changes}.values())
    unchanged = sorted((case for case in found.cases if case.verdict in UNCHANGED),
                       key=lambda case: UNCHANGED.index(case.verdict))  # fmt: skip
    rows = [
        (effect.answer, _change(effect), _label(case, effect), case.name)
        for case, effect in changes[:ROWS]
    ]
    markdown = render(
        "compare",
        found=found,
        table=_compact(table(("in B", "change (95 % interval)", "quantity", "case"), rows)),
        rows=len(rows),
        relative=any(effect.relative_to for _, effect in changes),
        more=len(changes) - len(rows),
        details=[(case.name, _details(case)) for case in changed],
        # Matrices and trials with another outcome, where that does not show a difference.
        chance=[
            (case.name, effect.note)
            for case, effect in every
            if effect.answer == "no difference shown" and effect.a != effect.b and effect.note
        ],
        unchanged=Counter(case.verdict for case in unchanged),
        listed=[(case.name, _details(case)) for case in unchanged] if everything else [],
        # How far the intervals of cases without a shown difference in time reach.
        ends=[
            effect.high
            for case in found.cases
            for effect in case.effects[:1]
            if effect.quantity == "time" and effect.answer == "no difference shown"
        ],
        undecidable=sum(math.isnan(e.adjusted) and not math.isnan(e.p) for _, e in every),
        shared=shared([case.case for case in found.cases]),
        differs=Counter(
            f"{name} {a} | {b}" for case in found.cases for name, (a, b) in case.differs.items()
        ),
        most=None if everything else ROWS,
        stats=stats,
        factor=factor,
    )
    return "\n".join(map(_narrow, markdown.splitlines())) + "\n"


def _changes(every: Sequence[tuple[CaseComparison, Effect]]) -> list[tuple[CaseComparison, Effect]]:
    """By case and answer the first effect; regressions, other worse, better, changed ones."""
    lead: dict[tuple[int, str], tuple[CaseComparison, Effect]] = {}
    for case, effect in every:
        if effect.answer in SHOWN:
            lead.setdefault((id(case), effect.answer), (case, effect))

    def order(one: tuple[CaseComparison, Effect]) -> tuple[bool, int, float]:
        effect = one[1]
        size = abs(effect.change)
        if effect.scale == "ratio":
            size = abs(math.log(effect.change)) if effect.change > 0 else math.inf
        return not effect.regression, SHOWN.index(effect.answer), -size

    return sorted(lead.values(), key=order)


def _details(case: CaseComparison) -> str:
    """What has changed, from what to what, and the numbers beside it; of an unchanged case all."""
    changed = [effect.quantity for effect in case.effects if effect.answer in SHOWN]
    shown = [
        _from_to(case, effect)
        for effect in case.effects
        if effect.answer in SHOWN
        or not changed
        or (effect.answer == "not judged" and effect.quantity == changed[0])
    ]
    return "; ".join(shown)


def _from_to(case: CaseComparison, effect: Effect) -> str:
    if effect.quantity == "failures" and effect.note:
        return escape(effect.note)
    name = _label(case, effect)
    if effect.answer in ("equal", "not tested"):
        return f"{name} {effect.answer}"
    prefix = "not judged: " if effect.answer == "not judged" else ""
    divided = f" ÷ {effect.relative_to}" if effect.relative_to else ""
    note = f" ({escape(effect.note)})" if effect.note else ""
    a, b = (_value(effect, value) for value in (effect.a, effect.b))
    return f"{prefix}{name}{divided} {a} → {b}, {_change(effect)}{note}"


def _label(case: CaseComparison, effect: Effect) -> str:
    """The quantity in words."""
    if effect.quantity == "failures":
        return "outcome"
    return _LABELS.get((effect.quantity, kind_of(case.case)), effect.quantity)


def factor(ratio: float) -> str:
    """A ratio to three digits, such as "1.15×"."""
    if math.isnan(ratio) or math.isinf(ratio):
        return numbers.NOTHING if math.isnan(ratio) else "∞×"
    write = numbers.significant if 0.01 <= ratio < 1000 else numbers.scientific
    return f"{write(ratio)}×"


def _change(effect: Effect) -> str:
    """How much, with its interval, such as "1.15× (1.10 to 1.20)" or "−12.5 points"."""
    if effect.quantity == "failures":
        return effect.note.partition(";")[0]
    share, unit = effect.quantity in _SHARES, ""
    if effect.scale == "ratio":
        change, low, high = (factor(v) for v in (effect.change, effect.low, effect.high))
    else:
        unit = " points" if share else ""
        change, low, high = (
            numbers.fixed(100 * value if share else value, int(share), signed=True)
            for value in (effect.change, effect.low, effect.high)
        )
    ends = f" ({low.removesuffix('×')} to {high.removesuffix('×')})"
    return f"{change}{unit}" + ("" if math.isnan(effect.low) else ends)


def _value(effect: Effect, value: float) -> str:
    if not math.isfinite(value):
        return numbers.scientific(value)
    if effect.relative_to:
        return factor(value).removesuffix("×")
    if effect.quantity in _SHARES:
        return numbers.percent(value) if effect.quantity == "success" else f"{100 * value:.2f} %"
    if effect.quantity in _BYTES:
        return numbers.amount(value)
    if effect.quantity in _TIMES:
        scale, unit = (1, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
        return f"{numbers.significant(scale * value)} {unit}"
    return f"{value:g}" if value == int(value) else numbers.scientific(value)


def _compact(text: str) -> str:
    """A table without padding in its last column, so that one long name does not widen all rows."""
    return re.sub(r"(?m)( |:--)[- ]*\|$", r"\1|", text)


def _narrow(line: str) -> str:
    """A line of text broken at 80 columns; tables and headings are left alone."""
    if line.startswith(("|", "#")):
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def kind_of(case: Case) -> str:
    """Such as "profile"."""
    return str(case.__struct_config__.tag)


def named(cases: Sequence[Case]) -> list[str]:
    """A name for each case: the method, the axes in which cases of its kind differ, and the kind.

    The kind is left out where all cases are of one.
    """
    words = _words(cases)
    kinds = {kind_of(case) for case in cases}
    found = []
    for case in cases:
        varied = [w for axis, w in _fields(case).items() if len(words[kind_of(case), axis]) > 1]
        kind = [kind_of(case)] if len(kinds) > 1 else []
        found.append(", ".join([getattr(case, "method", "series"), *varied, *kind]))
    return found


def shared(cases: Sequence[Case]) -> dict[str, str]:
    """By kind, what its cases have in common, in words."""
    found: dict[str, list[str]] = {kind_of(case): [] for case in cases}
    for (kind, _), words in _words(cases).items():
        found[kind] += words if len(words) == 1 else []
    return {kind: ", ".join(words) for kind, words in found.items()}


def _words(cases: Sequence[Case]) -> dict[tuple[str, str], dict[str, None]]:
    """By kind and axis, all that its cases have of it, in words."""
    found = defaultdict[tuple[str, str], dict[str, None]](dict)
    for case in cases:
        for axis, word in _fields(case).items():
            found[kind_of(case), axis][word] = None
    return found


def _fields(case: Case) -> dict[str, str]:
    """Every axis of a case in words, the method's parameters first."""
    values = msgspec.structs.asdict(case)
    if values.get("layer") == values.get("method"):
        values["layer"] = None  # "bn" and "none" need not be said twice
    parameters = {"start" if name == "seed" else name: value
                  for name, value in values.get("parameters", {}).items()}  # fmt: skip
    return {
        name: names.word(name, value)
        for name, value in {**parameters, **values}.items()
        if name not in _NOT_NAMED and value is not None
        if value is not False or name in names.KNOWN
    }
