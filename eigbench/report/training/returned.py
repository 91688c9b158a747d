"""Where the paper's failures came back, and where they did not."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import percent
from eigbench.report.training import compared, writing
from eigbench.report.training.cells import Cell, success_of
from eigbench.report.training.inference import wilson
from eigbench.report.training.naming import conditions, varied

LEAST = 3
"""Of fewer trials it is not said that a failure did not come back."""

SHORTER = (
    "; these trainings are not the paper's, and what did not fail in them may fail in longer ones"
)


def sentences(compare: str, cells: Sequence[Cell], *, papers: bool) -> list[str]:
    """What became of each failure that the paper prints, one sentence for each answer.

    It came back if a trial diverged. It is gone if every trial that was started finished, they are
    `LEAST` or more, and their Wilson interval is above the printed rate. Anything else is unclear,
    and so is a trial that ended in an exception. `papers`: the trainings are the paper's own.
    """
    found: dict[str, list[tuple[Cell, float]]] = {"back": [], "gone": [], "unclear": []}
    for cell, printed in compared.failures(compare, cells):
        found[_answer(cell, printed)].append((cell, printed))
    back, gone, unclear = (_methods(cells, found[answer]) for answer in ("back", "gone", "unclear"))
    said = []
    if back:
        said.append(f"The paper's failures came back in {back}.")
    if gone:
        reason = _reason(cells) if any(c.case.method == "svd" for c, _ in found["gone"]) else ""
        said.append(f"The paper's failures did not come back in {gone}"
                    f"{'' if papers else SHORTER}.{reason}")  # fmt: skip
    if unclear:
        said.append("Whether the paper's failures come back is not told by so few trials, or by "
                    f"trials that ended in an exception, in {unclear}.")  # fmt: skip
    return said


def _answer(cell: Cell, printed: float) -> str:
    if cell.of("diverged"):
        return "back"
    low, _ = wilson(*cell.success)
    enough = len(cell.trials) >= LEAST and low > printed
    return "gone" if enough and not cell.of("failed") else "unclear"


def _methods(cells: Sequence[Cell], found: Sequence[tuple[Cell, float]]) -> str:
    """By method: where, what the paper prints and what was measured; equal ones together."""
    axes = varied(cells)
    alike: dict[str, dict[tuple[float, tuple[int, int]], list[Cell]]] = {}
    for cell, printed in found:
        same = alike.setdefault(cell.case.method, {})
        same.setdefault((printed, cell.success), []).append(cell)
    words = []
    for method, same in alike.items():
        among = sum(cell.case.method == method for cell in cells)
        places = []
        for (printed, success), own in same.items():
            where = conditions(own, axes, among).strip().removeprefix("at ")
            places.append(
                f"{f'{where}: ' if where else ''}printed {percent(printed)}, measured "
                f"{writing.share(success)}, {success[0]} of {success[1]}"
                f"{' each' if len(own) > 1 else ''}"
            )
        words.append(f"**{method}** ({'; '.join(places)})")
    return ", ".join(words)


def _reason(cells: Sequence[Cell]) -> str:
    """The one reason that is known; it is about whitening."""
    if not any(cell.case.layer == "zca" for cell in cells):
        return ""
    total = success_of(cell for cell in cells if cell.case.method == "svd-released")
    shows = f"here finished {writing.counted(total)}" if total[1] else "is not in this run"
    return (
        " One known reason fits: the SVD variant that the authors released whitens along the first "
        "eigenvector only, unless some eigenvalue is ≤ ε, so that its forward pass is not that of "
        f"the others (`svd-released` does what it does, and {shows})."
    )
