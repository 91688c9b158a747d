"""A comparison as markdown that reads as well in a narrow terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from eigbench.report.compare.naming import shared
from eigbench.report.compare.reading import how_to_read
from eigbench.report.compare.result import (
    BETTER,
    CHANGED,
    UNCHANGED,
    WORSE,
    Answer,
    CaseComparison,
    Comparison,
    Side,
)
from eigbench.report.compare.summary import effects_of, sentences, with_answer
from eigbench.report.compare.writing import bullet, change, from_to, interval, paragraph

_SHOWN = 10
"""So many cases that only one run has are named, unless all are asked for."""


def to_markdown(found: Comparison, *, everything: bool = False) -> str:
    """Sentences, then every case that changed; the others are counted, or listed as well."""
    blocks = [
        "# B against A",
        _list([_side("A", found.a), _side("B", found.b)]),
        *_environment(found),
        *_what(found),
        "## Summary",
        _list(sentences(found)),
        *(section for answer in (*WORSE, *BETTER) for section in _section(found, answer)),
        *_otherwise(found),
        *_by_chance(found),
        *_unchanged(found, everything=everything),
        *_only(found, everything=everything),
        "## How to read this",
        *map(paragraph, how_to_read(found)),
    ]
    return "\n\n".join(blocks) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(map(bullet, lines))


def _side(name: str, side: Side) -> str:
    started = f", {side.started_at[:10]}" if side.started_at else ""
    return f"**{name}**: {side.folder} ({side.title}{started}), {side.recorded} cases"


def _environment(found: Comparison) -> list[str]:
    if not found.environment:
        return ["Both were measured in the same environment."]
    return [
        "**The environments differ**, A | B:",
        _list(f"{apart.name}: {apart.a} | {apart.b}" for apart in found.environment),
    ]


def _what(found: Comparison) -> list[str]:
    """What all cases share, and what the cases that were matched do not."""
    said = [
        f"All cases of kind {kind}: {words}."
        for kind, words in shared([case.case for case in found.cases]).items()
        if words
    ]
    counts = Counter(
        f"{name} {a} | {b}" for case in found.cases for name, (a, b) in case.differs.items()
    )
    if counts:
        words = "; ".join(f"{what} ({count})" for what, count in counts.items())
        said.append(f"**Compared although they differ**, A | B (cases): {words}.")
    return [paragraph(text) for text in said]


def _section(found: Comparison, answer: Answer) -> list[str]:
    chosen = with_answer(found, answer)
    if not chosen:
        return []
    return [
        f"## {answer.capitalize()} in B: {len(chosen)}",
        _list(_line(c, answer) for c in chosen),
    ]


def _line(case: CaseComparison, answer: Answer) -> str:
    """How much, of which case, from what to what; then what else is to be said of it."""
    effects = effects_of(case, answer)
    lead, others = effects[0], effects[1:]
    if lead.quantity == "failures":
        return f"{case.name}: {lead.note}"
    beside = [
        effect for effect in case.effects
        if effect.answer == "not judged" and effect.quantity == lead.quantity
    ]  # fmt: skip
    said = [
        from_to(lead),
        *(f"{other.quantity} {change(other)} {interval(other)}".strip() for other in others),
        *(f"{from_to(effect)} ({change(effect)})" for effect in beside),
        *([lead.note] if lead.note else []),
    ]
    head = " ".join(filter(None, (f"**{change(lead)}**", interval(lead))))
    return f"{head} {case.name}: {'; '.join(said)}"


def _otherwise(found: Comparison) -> list[str]:
    """Changes that are neither worse nor better: memory, operators, skipped cases."""
    lines = []
    for case in found.cases:
        effects = [effect for effect in case.effects if effect.answer in CHANGED]
        said = [
            f"{from_to(effect)} ({change(effect)})" if effect.answer != "changed" else effect.note
            for effect in effects
        ]
        if said:
            lines.append(f"{case.name}: {'; '.join(said)}")
    return [f"## Changed otherwise: {len(lines)}", _list(lines)] if lines else []


def _by_chance(found: Comparison) -> list[str]:
    """Seeds and trials with another end, where that is not enough to show a difference."""
    lines = [
        f"{case.name}: {effect.note}"
        for case in found.cases
        for effect in case.effects
        if effect.answer == "no difference shown" and effect.a != effect.b and effect.note
    ]
    return [f"## Other ends, as chance can make them: {len(lines)}", _list(lines)] if lines else []


def _unchanged(found: Comparison, *, everything: bool) -> list[str]:
    rest = [case for case in found.cases if case.verdict in UNCHANGED]
    counts = Counter(case.verdict for case in rest)
    if not rest:
        return []
    said = [f"{verdict}: {counts[verdict]}" for verdict in UNCHANGED if counts[verdict]]
    listed = [_list(f"{case.name}: {_judged(case)}" for case in rest)] if everything else []
    return [f"## Without a change: {len(rest)}", _list(said), *listed]


def _judged(case: CaseComparison) -> str:
    """Every number that was judged, with its interval."""
    said = []
    for effect in case.effects:
        if effect.answer in {"equal", "not tested"} or effect.quantity == "failures":
            said.append(f"{effect.quantity} {effect.answer}")
        elif effect.answer != "not judged":
            said.append(" ".join(filter(None, (from_to(effect), change(effect), interval(effect)))))
    return "; ".join([case.verdict, *said])


def _only(found: Comparison, *, everything: bool) -> list[str]:
    sections = []
    for name, side in (("A", found.a), ("B", found.b)):
        names = [case.name for case in side.only]
        shown = names if everything else names[:_SHOWN]
        more = len(names) - len(shown)
        if names:
            lines = [*shown, *([f"... and {more} more (`--all` lists them)"] if more else [])]
            sections += [f"## Only in {name}: {len(names)}", _list(lines)]
    return sections
