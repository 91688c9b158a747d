"""A table of methods by size, one for each precision and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile.naming import Names, place, size
from eigbench.report.profile.profiles import Profile, values_of, where

Cell = Callable[[Profile], str]

OWN_TABLE = 4
"""A precision and batch with fewer sizes shares a table with others."""


def places(profiles: Sequence[Profile]) -> list[list[Profile]]:
    """The profiles of each precision and batch, batches ascending."""
    dtypes = list(dict.fromkeys(profile.case.dtype for profile in profiles))
    found: dict[tuple[int, int], list[Profile]] = {}
    for profile in profiles:
        key = (dtypes.index(profile.case.dtype), profile.case.batch)
        found.setdefault(key, []).append(profile)
    return [found[key] for key in sorted(found)]


def titled(profiles: Sequence[Profile]) -> list[tuple[str, list[Profile]]]:
    """What shares a table, with its title: a precision and batch, if it has several sizes.

    The batches of a precision that have one or two share one table.
    """
    found: dict[str, list[Profile]] = {}
    for group in places(profiles):
        case = group[0].case
        few = len(sizes(group)) < OWN_TABLE
        found.setdefault(f"{case.dtype}, by batch" if few else place(case), []).extend(group)
    return [
        (place(own[0].case) if len(values_of(own, "batch")) == 1 else title, own)
        for title, own in found.items()
    ]


def one_table(profiles: Sequence[Profile], names: Names, cell: Cell) -> str:
    """Methods down, sizes across, those alone of which there is something to show; "" if none."""
    known = [p for p in profiles if p.status == "measured" and cell(p) != NOTHING]
    if not known:
        return ""
    batches, groups = values_of(known, "batch"), names.group(profiles)
    columns = [
        (column, batch) for column in sizes(known) for batch in batches
        if any(size(p.case) == column for p in where(known, batch=batch))
    ]  # fmt: skip
    body = [
        [label, *(_text(_at(own, *column), cell) for column in columns)]
        for label, own in groups.items()
    ]
    bare = len(batches) == 1 and all(profile.case.layer is None for profile in known)
    heads = [
        f"{column}, batch {batch}" if len(batches) > 1 else column.removeprefix("d = " * bare)
        for column, batch in columns
    ]
    shown = [row for row in body if set(row[1:]) != {NOTHING}]
    return table(["method \\ d" if bare else "method", *heads], shown)


def _at(profiles: Sequence[Profile], column: str, batch: int) -> list[Profile]:
    return [profile for profile in where(profiles, batch=batch) if size(profile.case) == column]


def sizes(profiles: Sequence[Profile]) -> list[str]:
    """The sizes by name: layers in their order, in each the smaller first."""
    layers = list(dict.fromkeys(profile.case.layer for profile in profiles))
    ordered = sorted(
        profiles,
        key=lambda p: (layers.index(p.case.layer), p.case.d or 0, p.case.energy or 0),
    )
    return list(dict.fromkeys(size(profile.case) for profile in ordered))


def _text(profiles: Sequence[Profile], cell: Cell) -> str:
    """What is known best of a cell: a case may be planned twice, with a trace and without."""
    shown = [profile for profile in profiles if profile.status == "measured"]
    if shown:
        return cell(shown[0])
    other = next((p.status for p in profiles if p.status != "planned"), None)
    return other or NOTHING
