"""Tables of what is counted once a case: by subject, at one precision and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile import grid
from eigbench.report.profile.naming import SUBJECTS, Names, place, size
from eigbench.report.profile.profiles import Profile, values_of, where, workloads

Kind = tuple[str, Callable[[Profile], str]]
"""What is counted, and how it is written of a profile."""

MOST_SIZES = 6
"""So many columns are enough to see how what is counted grows."""


def tables(profiles: Sequence[Profile], names: Names, kinds: Sequence[Kind]) -> list[str]:
    """One of methods by size for each kind; of training steps one for all kinds."""
    parts = []
    for subject in values_of(profiles, "subject"):
        own = where(profiles, subject=subject)
        parts += _steps(own, names, kinds) if subject == "step" else _grids(own, names, kinds)
    return parts


def both(words: Sequence[str], between: str) -> str:
    """Several words of a cell; nothing if none of them says anything."""
    return NOTHING if set(words) == {NOTHING} else between.join(words)


def fullest(profiles: Sequence[Profile]) -> list[Profile]:
    """The profiles of the precision and batch with the most measured sizes.

    Of several with as many, the first precision and its largest batch.
    """
    dtypes = values_of(profiles, "dtype")

    def rank(group: Sequence[Profile]) -> tuple[int, int, int]:
        measured = {profile.size for profile in group if profile.status == "measured"}
        return len(measured), -dtypes.index(group[0].case.dtype), group[0].case.batch

    return max(grid.places(profiles), key=rank, default=[])


def _grids(profiles: Sequence[Profile], names: Names, kinds: Sequence[Kind]) -> list[str]:
    own = _thinned(fullest(profiles))
    parts = []
    for what, cell in kinds:
        text = grid.one_table(own, names, cell)
        if text:
            subject = SUBJECTS[own[0].case.subject]
            parts += [f"**{subject}, {place(own[0].case)}: {what}**", text]
    return parts


def _thinned(profiles: Sequence[Profile]) -> list[Profile]:
    """Those of at most `MOST_SIZES` sizes, from the smallest to the largest."""
    known = grid.sizes([profile for profile in profiles if profile.status == "measured"])
    if len(known) <= MOST_SIZES:
        return list(profiles)
    kept = {known[round(i * (len(known) - 1) / (MOST_SIZES - 1))] for i in range(MOST_SIZES)}
    return [profile for profile in profiles if size(profile.case) in kept]


def _steps(profiles: Sequence[Profile], names: Names, kinds: Sequence[Kind]) -> list[str]:
    body = []
    for own in workloads(profiles):
        for label, same in names.group(own).items():
            profile = next((p for p in same if p.status == "measured"), None)
            if profile:
                title = f"{size(profile.case)}, {place(profile.case)}"
                body.append([title, label, *(cell(profile) for _, cell in kinds)])
    headers = ["workload", "method", *(what for what, _ in kinds)]
    kept = [i for i in range(len(headers)) if i < 2 or any(row[i] != NOTHING for row in body)]
    if len(kept) == 2 or not body:
        return []
    return [
        f"**{SUBJECTS['step']}**",
        table([headers[i] for i in kept], [[row[i] for i in kept] for row in body]),
    ]
