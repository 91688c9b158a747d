"""Where the paper's failures came back, and where they did not."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import percent
from eigbench.report.training import compared, writing
from eigbench.report.training.cells import Cell
from eigbench.report.training.inference import wilson
from eigbench.report.training.naming import condition, varied


def sentences(compare: str, cells: Sequence[Cell], *, papers: bool) -> list[str]:
    """What became of each failure that the paper prints, method by method.

    A failure is gone if every trial finished and the Wilson interval is above the printed rate;
    `papers` says that the trainings are of the paper's length.
    """
    axes = varied(cells)
    back: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    unclear: dict[str, list[str]] = {}
    for cell, printed in compared.failures(compare, cells):
        # What ended in an exception is neither: it is among the failures, with its reason.
        diverged, finished = len(cell.of("diverged")), len(cell.finished)
        trials = finished + diverged
        if not trials:
            continue
        low, _ = wilson(finished, trials)
        where = condition(cell.case, axes)
        words = (
            f"{f'{where}: ' if where else ''}printed {percent(printed)}, measured "
            f"{percent(finished / trials)}, {finished} of {trials}"
        )
        among = back if diverged else gone if low > printed else unclear
        among.setdefault(cell.case.method, []).append(words)
    found = [
        f"The paper's failures of **{method}** did not come back ({'; '.join(words)})."
        for method, words in gone.items()
    ]
    if "svd" in gone:
        found += _reason(cells)
    if gone and not papers:
        found.append(
            "These trainings are not the paper's (see above): what did not fail in them may still "
            "fail in longer ones."
        )
    found += [
        f"**{method}** finished every trial where the paper prints failures, but so few trials "
        f"do not tell ({'; '.join(words)})."
        for method, words in unclear.items()
    ]
    found += [
        f"The paper's failures of **{method}** came back ({'; '.join(words)})."
        for method, words in back.items()
    ]
    return found


def _reason(cells: Sequence[Cell]) -> list[str]:
    """The one reason that is known; it is about whitening."""
    if not any(cell.case.layer == "zca" for cell in cells):
        return []
    released = [cell for cell in cells if cell.case.method == "svd-released"]
    total = (sum(c.success[0] for c in released), sum(c.success[1] for c in released))
    shows = f"here it finished {writing.counted(total)}" if released else "it is not in this run"
    return [
        "One known reason fits: the SVD variant that the authors released whitens along the first "
        "eigenvector only, unless some eigenvalue is ≤ ε, so that its forward pass is not that of "
        f"the others. `svd-released` does what it does; {shows}."
    ]
