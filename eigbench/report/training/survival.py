"""Who survives where: trials that finished, by method and by what was asked of it."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import NOTHING, scientific, table
from eigbench.report.training import writing
from eigbench.report.training.cells import Cell, success_of
from eigbench.report.training.differences import REFERENCE, counterpart
from eigbench.report.training.inference import SIGNIFICANT, fisher, holm
from eigbench.report.training.naming import (
    condition,
    groups,
    listed,
    name,
    place,
    values_of,
    varied,
)

LISTED = 3
"""So many cells that lost trials are named one by one; of more only what they share."""


def sections(cells: Sequence[Cell]) -> list[str]:
    """A table of what finished, a row a condition and a column a method; none of one condition."""
    decomposing = [cell for cell in cells if cell.decomposes]
    axes = varied(decomposing)
    across = [axis for axis in axes if axis == "iterations"]
    down = [axis for axis in axes if axis not in across]
    rows: dict[object, list[Cell]] = {}
    for cell in decomposing:
        rows.setdefault(place(cell.case), []).append(cell)
    columns = list(dict.fromkeys(name(cell.case, across) for cell in decomposing))
    if len(rows) < 2 or not any(cell.trials for cell in cells):
        return []
    body = []
    for own in rows.values():
        found = {name(cell.case, across): _finished(cell) for cell in own}
        body.append([condition(own[0].case, down) or "the method's own",
                     *(found.get(column, NOTHING) for column in columns)])  # fmt: skip
    others = [f"{name(c.case, varied(cells))}: {_finished(c)}" for c in cells if not c.decomposes]
    beside = f" Beside them, {'; '.join(others)}." if others else ""
    return [
        "## Who survives where",
        f"Trials that finished, of those that were started; bold where one was lost.{beside}",
        table(["condition", *columns], body),
    ]


def _finished(cell: Cell) -> str:
    """Such as "3 of 3", or "**1 of 3**"."""
    if not cell.trials:
        return "skipped" if cell.skipped else NOTHING
    finished, trials = cell.success
    text = f"{finished} of {trials}"
    return text if finished == trials else f"**{text}**"


def sentences(cells: Sequence[Cell]) -> list[str]:
    """Which methods finished everything, what the others lost and where, and what that shows."""
    whole, lost = [], []
    for group, own in groups(cells).items():
        total = success_of(own)
        if total[0] == total[1]:
            whole.append(f"**{group}** {total[0]} of {total[1]} ({writing.interval(total)})")
        else:
            lost.append(f"**{group}** finished {writing.counted(total)}{_where(own)}")
    found = []
    if whole:
        found.append(f"Every trial finished: {', '.join(whole)}.")
    if lost:
        found.append(f"Trials were lost: {'; '.join(lost)}.")
    return [*found, *_tested(cells)]


def _where(cells: Sequence[Cell]) -> str:
    """In which of a method's cells trials were lost."""
    axes = varied(cells)
    failing = [cell for cell in cells if cell.success[0] < cell.success[1]]
    exceptions = sum(len(cell.of("failed")) for cell in failing)
    text = f", {exceptions} ended in an exception" if exceptions else ""
    if len(cells) == 1:
        return text
    if len(failing) == 1 or (len(axes) == 1 and len(failing) <= LISTED):
        places = (f"{condition(c.case, axes)}, {c.success[0]} of {c.success[1]}" for c in failing)
        return f"{text}: {'; '.join(places)}"
    shared = [
        listed(axis, values_of(failing, axis))
        for axis in axes
        if 0 < len(values_of(failing, axis)) < len(values_of(cells, axis))
    ]
    only = f", all with {' and '.join(shared)}" if shared else ""
    return f"{text}: in {len(failing)} of {len(cells)} cells{only}"


def _tested(cells: Sequence[Cell]) -> list[str]:
    """Whose success rate is shown to differ from that of the paper's method."""
    methods = list(dict.fromkeys(cell.case.method for cell in cells if cell.decomposes))
    pairs = {method: against_reference(cells, method) for method in methods if method != REFERENCE}
    p_values = {method: fisher(strata) for method, strata in pairs.items() if strata}
    if not p_values:
        return []
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    clear = [f"{m} (p = {scientific(p)})" for m, p in adjusted.items() if p < SIGNIFICANT]
    rest = [method for method, p in adjusted.items() if p >= SIGNIFICANT]
    among = max(len(strata) for strata in pairs.values())
    test = "Fisher's exact test" + (", condition by condition" if among > 1 else "")
    shown = f"A success rate other than **{REFERENCE}**'s is shown for {', '.join(clear)}"
    if not rest:
        return [f"{shown} ({test})."]
    if not clear:
        return [f"No difference in success rate from **{REFERENCE}** is shown for "
                f"{', '.join(rest)} ({test})."]  # fmt: skip
    return [f"{shown}, and none for {', '.join(rest)} ({test})."]


def against_reference(
    cells: Sequence[Cell], method: str
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """A method's success and the reference's, at every place where both started trials."""
    own = [cell for cell in cells if cell.case.method == method and cell.trials]
    pairs = [(cell, counterpart([c for c in cells if c.trials], cell)) for cell in own]
    return [(cell.success, other.success) for cell, other in pairs if other is not None]
