"""A comparison as Markdown that reads as well in a narrow terminal, and the names of its cases.

The words are in `report/templates/compare.md.j2`.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

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
from eigbench.kinds.profile import REFERENCES, ProfileCase
from eigbench.report import names, numbers, stats
from eigbench.report.render import escape, render, table

Judged = tuple[CaseComparison, Effect]
WIDTH = 80
"""Columns of a narrow terminal."""
ROWS = 12
"""The most rows of the table, and the most cases of one run alone that are listed."""

_BESIDE = {"kind", "method", "parameters", "seed", "seeds", "rounds", "seconds", "trace"}
"""Fields of a case that are no part of a name."""
_LAST = ("dtype", "device")
"""Said after everything else."""


def to_markdown(found: Comparison, *, everything: bool = False) -> str:
    """One table and a few sentences, then every change; `everything`: unchanged cases too."""
    every = [(case, effect) for case in found.cases for effect in case.effects]
    changes = _changes(every)
    changed = list({id(case): case for case, _ in changes}.values())
    unchanged = [case for case in found.cases if case.verdict in UNCHANGED]
    counts = Counter(case.verdict for case in unchanged)
    rows = [
        (effect.answer, _change(case, effect), _label(case, effect), case.name)
        for case, effect in changes[:ROWS]
    ]
    heads = ("in B", "change (95 % interval)", "quantity", "case")
    markdown = render(
        "compare",
        found=found,
        table=_loose(table(heads, rows)) if rows else "",
        more=len(changes) - len(rows),
        details=[(case.name, "; ".join(_shown(case))) for case in changed],
        # Matrices and trials with another outcome, where that does not show a difference.
        chance=[
            (case.name, effect.note)
            for case, effect in every
            if effect.answer == "no difference shown" and effect.a != effect.b and effect.note
        ],
        unchanged=[(verdict, counts[verdict]) for verdict in UNCHANGED if counts[verdict]],
        listed=[(c.name, "; ".join(_judged(c))) for c in unchanged] if everything else [],
        detectable=_detectable(found),
        undecidable=sum(math.isnan(e.adjusted) and not math.isnan(e.p) for _, e in every),
        references=_references(found),
        shared=shared([case.case for case in found.cases]),
        differs=Counter(
            f"{name} {a} | {b}" for case in found.cases for name, (a, b) in case.differs.items()
        ),
        relative=any(effect.relative_to for _, effect in changes),
        kinds={kind_of(case.case) for case in found.cases},
        most=None if everything else ROWS,
        stats=stats,
    )
    return "\n".join(map(_narrow, markdown.splitlines())) + "\n"


def _changes(every: Sequence[Judged]) -> list[Judged]:
    """By case and answer the first effect; regressions, other worse, better, changed ones."""
    lead: dict[tuple[int, str], Judged] = {}
    for case, effect in every:
        if effect.answer in (*WORSE, *BETTER, *CHANGED):
            lead.setdefault((id(case), effect.answer), (case, effect))

    def order(one: Judged) -> tuple[bool, int, float]:
        effect = one[1]
        group = [effect.answer in some for some in (WORSE, BETTER, CHANGED)].index(True)
        size = math.inf
        if effect.change > 0 or effect.scale == "difference":
            size = abs(math.log(effect.change) if effect.scale == "ratio" else effect.change)
        return not effect.regression, group, -size

    return sorted(lead.values(), key=order)


def _detectable(found: Comparison) -> tuple[int, str]:
    """Cases without a shown difference in time, and how far half of their intervals reach."""
    ends = [
        effect.high
        for case in found.cases
        for effect in case.effects[:1]
        if effect.answer == "no difference shown" and effect.quantity == "time"
    ]
    return len(ends), factor(stats.middle(ends))


def _references(found: Comparison) -> dict[str, Any] | None:
    """By how much the references' times changed; None where they are judged like all else."""
    if found.same_machine and not found.same_torch:
        return None
    ratios = [
        effect.change
        for case in found.cases
        if isinstance(case.case, ProfileCase)
        and case.case.method == REFERENCES[case.case.subject][0]
        for effect in case.effects
        if effect.quantity == "time" and math.isfinite(effect.change)
    ]
    if not ratios:
        return None
    words = {"middle": np.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {"count": len(ratios), **{name: factor(float(v)) for name, v in words.items()}}


def _shown(case: CaseComparison) -> list[str]:
    """What of a case has changed, from what to what, and the numbers beside it."""
    own = [effect for effect in case.effects if effect.answer in (*WORSE, *BETTER, *CHANGED)]
    beside = [
        effect for effect in case.effects
        if effect.answer == "not judged" and effect.quantity == own[0].quantity
    ]  # fmt: skip
    return [
        *(_from_to(case, effect) for effect in own),
        *(f"not judged: {_from_to(case, effect)}" for effect in beside),
        *(escape(effect.note) for effect in own if effect.note and effect.quantity != "failures"),
    ]


def _judged(case: CaseComparison) -> list[str]:
    """Every number of an unchanged case that was judged."""
    return [
        f"{_label(case, effect)} {effect.answer}"
        if effect.answer in {"equal", "not tested"} or effect.quantity == "failures"
        else _from_to(case, effect)
        for effect in case.effects
        if effect.answer != "not judged"
    ] or [case.verdict]


def _label(case: CaseComparison, effect: Effect) -> str:
    """The quantity in words."""
    if effect.quantity == "success":
        words = {"stability": "finite gradients", "train": "finished trials"}
        return words.get(kind_of(case.case), "finite values")
    return "outcome" if effect.quantity == "failures" else effect.quantity


def factor(ratio: float) -> str:
    """A ratio to three digits, such as "1.15×"."""
    if math.isnan(ratio) or math.isinf(ratio):
        return numbers.NOTHING if math.isnan(ratio) else "∞×"
    write = numbers.significant if 0.01 <= ratio < 1000 else numbers.scientific
    return f"{write(ratio)}×"


def _change(case: CaseComparison, effect: Effect) -> str:
    """How much, with its interval, such as "1.15× (1.10 to 1.20)" or "−12.5 points"."""
    if effect.quantity == "failures":
        return " → ".join(
            ", ".join(f"{way} {count}" if count > 1 else way for way, count in side.ended.items())
            for side in (case.a, case.b)
        )
    write: Callable[[float], str] = factor
    if effect.scale == "difference":
        scale, decimals = (100, 1) if effect.quantity in ("success", "test error") else (1, 0)
        write = partial(_signed, scale=scale, decimals=decimals)
    ends = ""
    if not math.isnan(effect.low):
        ends = f" ({write(effect.low).removesuffix('×')} to {write(effect.high).removesuffix('×')})"
    unit = " points" if effect.quantity in ("success", "test error") else ""
    return f"{write(effect.change)}{unit}{ends}"


def _signed(value: float, scale: int, decimals: int) -> str:
    return numbers.fixed(scale * value, decimals, signed=True)


def _from_to(case: CaseComparison, effect: Effect) -> str:
    if effect.quantity == "failures":
        return escape(effect.note)
    name = _label(case, effect)
    if effect.relative_to:
        name += f" ÷ {effect.relative_to}"
    a, b = (_value(effect, value) for value in (effect.a, effect.b))
    return f"{name} {a} → {b}, {_change(case, effect)}"


_WRITERS: dict[str, Callable[[float], str]] = {
    "success": numbers.percent,
    "test error": lambda share: f"{100 * share:.2f} %",
    "peak bytes": numbers.amount,
    "saved bytes": numbers.amount,
}
_TIMES = ("time", "forward", "backward", "update", "step time", "first call")


def _value(effect: Effect, value: float) -> str:
    if not math.isfinite(value):
        return numbers.scientific(value)
    if effect.quantity in _WRITERS:
        return _WRITERS[effect.quantity](value)
    if effect.relative_to:
        return factor(value).removesuffix("×")
    if effect.quantity in _TIMES:
        scale, unit = (1, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
        return f"{numbers.significant(scale * value)} {unit}"
    return f"{value:g}" if value == int(value) else numbers.scientific(value)


def _loose(text: str) -> str:
    """A table without padding in its last column, so that one long name does not widen all rows."""
    lines = text.splitlines()
    rule = lines[1].rsplit("|", 2)[0] + "|:--|"
    return "\n".join(
        rule if number == 1 else line.removesuffix("|").rstrip() + " |"
        for number, line in enumerate(lines)
    )


def _narrow(line: str) -> str:
    """A line of text broken at 80 columns, never within "5 %" or "d = 4"; tables are left alone."""
    if len(line) <= WIDTH or line.startswith(("|", "#")):
        return line
    tied = line.replace(" %", "\xa0%").replace(" = ", "\xa0=\xa0")
    indent = "  " if line.startswith("- ") else ""
    filled = textwrap.fill(
        tied, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return filled.replace("\xa0", " ")


def kind_of(case: Case) -> str:
    """Such as "profile"."""
    return str(case.__struct_config__.tag)


def named(cases: Sequence[Case]) -> list[str]:
    """A name for each case: the method, and the axes in which cases of its kind differ.

    Where cases of several kinds would have the same name, each says its kind as well.
    """
    varied = _varied(cases)
    found, kinds = [], defaultdict[str, set[str]](set)
    for case in cases:
        own = [word for axis, word in _fields(case).items() if (kind_of(case), axis) in varied]
        found.append(", ".join([_method(case), *own]))
        kinds[found[-1]].add(kind_of(case))
    return [
        f"{name}, {kind_of(case)}" if len(kinds[name]) > 1 else name
        for case, name in zip(cases, found, strict=True)
    ]


def shared(cases: Sequence[Case]) -> dict[str, str]:
    """By kind, what its cases have in common, in words."""
    varied, found = _varied(cases), defaultdict[str, dict[str, str]](dict)
    for case in cases:
        found[kind_of(case)] |= _fields(case)
    return {
        kind: ", ".join(words[axis] for axis in sorted(words, key=_LAST.__contains__)
                        if (kind, axis) not in varied)
        for kind, words in found.items()
    }  # fmt: skip


def _varied(cases: Sequence[Case]) -> set[tuple[str, str]]:
    """By kind, the axes with several values, or of which some cases of a method have none."""
    axes = defaultdict[str, dict[str, None]](dict)
    for case in cases:
        axes[kind_of(case)] |= dict.fromkeys(_fields(case))
    seen = defaultdict[tuple[str, str], set[tuple[str, str | None]]](set)
    for case in cases:
        for axis in axes[kind_of(case)]:
            seen[kind_of(case), axis].add((_method(case), _fields(case).get(axis)))
    return {
        key
        for key, pairs in seen.items()
        if len({word for _, word in pairs} - {None}) > 1
        or len({method for method, _ in pairs}) < len(pairs)
    }


def _method(case: Case) -> str:
    return str(getattr(case, "method", "series"))


def _fields(case: Case) -> dict[str, str]:
    """Every axis of a case in words, the method's parameters first, device and precision last."""
    values = msgspec.structs.asdict(case)
    if values.get("layer") == values.get("method"):
        values["layer"] = None  # "bn" and "none" need not be said twice
    parameters = dict(values.get("parameters", {}))
    if "seed" in parameters:
        parameters["start"] = parameters.pop("seed")
    every = {**parameters, **{name: values[name] for name in values if name not in _BESIDE}}
    # Not "in (None, False)", which a gap of 0 is as well.
    return {
        name: names.word(name, every[name])
        for name in sorted(every, key=_LAST.__contains__)
        if every[name] is not None and every[name] is not False
    }
