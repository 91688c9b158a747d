"""The times of operations and layers: a table of methods by size for each precision and batch."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import NOTHING
from eigbench.report.profile import grid, writing
from eigbench.report.profile.grid import Cell
from eigbench.report.profile.naming import Names, first_reference, functions_only
from eigbench.report.profile.profiles import Profile, reference, where

MILLI = writing.MILLI


def operation(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Times over those of `torch.linalg.eigh`, and in milliseconds."""
    own = where(profiles, subject="operation")
    note = functions_only(own, names).strip()
    parts = _sections(own, names, [_over_reference(own), (_TIMES, _times)])
    return [note, *parts] if note and parts else parts


def layer(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Times over those of batch normalisation, in milliseconds, and over no layer at all."""
    own = where(profiles, subject="layer")
    added = "Milliseconds that it adds to no layer at all, forward and backward:"
    none = {p.case.workload.id: reference(own, p, 1) for p in own}

    def more(profile: Profile) -> str:
        without = none[profile.case.workload.id]
        if without is None or profile.case.method == without.case.method:
            return NOTHING
        return writing.difference(profile.added(without), MILLI)

    return _sections(own, names, [_over_reference(own), (_TIMES, _times), (added, more)])


_TIMES = "Milliseconds, forward + backward:"


def _over_reference(profiles: Sequence[Profile]) -> tuple[str, Cell]:
    name = first_reference(profiles[0].case.subject) if profiles else ""
    return f"Time as a multiple of `{name}`'s in the same rounds, forward and backward:", _ratio


def _ratio(profile: Profile) -> str:
    if profile.case.method == first_reference(profile.case.subject):
        return "1" if profile.time else NOTHING
    return writing.with_interval(profile.ratio)


def _times(profile: Profile) -> str:
    passes = [profile.time_of(name) for name in ("forward", "backward")]
    if not any(passes):
        return NOTHING
    return " + ".join(writing.supported(one, MILLI) for one in passes)


def _sections(
    profiles: Sequence[Profile], names: Names, kinds: Sequence[tuple[str, Cell]]
) -> list[str]:
    parts = []
    for title, group in grid.titled(profiles):
        texts = [(what, grid.one_table(group, names, cell)) for what, cell in kinds]
        shown = [f"{what}\n\n{text}" for what, text in texts if text]
        if shown:
            parts += [f"### {title}", *shown]
    return parts
