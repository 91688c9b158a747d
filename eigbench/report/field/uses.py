"""Which method for which use: the shares that the numbers give, and who leads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eigbench.report.field.measured import Measured, Timed, finite_gradients
from eigbench.report.markdown import NOTHING, percent, table
from eigbench.report.rows import RIGHT, Floats, Row, by_case, comparable, differ, values_of, where

LARGEST_OF_FORMULAS = 3
ENOUGH = 0.9
"""A method that is right less often is recommended to nobody."""


@dataclass(frozen=True)
class Use:
    """A use, and the cases that ask what it asks: of these losses, and of those what belongs."""

    title: str
    sees: str
    losses: tuple[str, ...]
    belongs: Callable[[Row], bool]
    asked: Callable[[Row], bool] = lambda _: True
    """Whether a row gives reason to ask for this use at all."""


def _whitens_otherwise(row: Row) -> bool:
    """By another matrix than `M^(−1/2)`."""
    return "whitens_by" in row.record.labels


def _general(row: Row) -> bool:
    return row.case.spectrum != "laplacian"


def _of(spectrum: str) -> Callable[[Row], bool]:
    return lambda row: row.case.spectrum == spectrum


PARTS = ("subspace", "eigenvector")
USES = (
    Use("ZCA whitening", "M^(−1/2)", ("whitening",),
        lambda row: _general(row) and not _whitens_otherwise(row)),
    Use("whitening by any matrix", "W with W M Wᵀ = I", ("whitening",), _general,
        asked=_whitens_otherwise),
    Use("PCA", "the leading subspace", ("subspace",), _general),
    Use("second-order pooling", "M^(1/2)", ("square-root",), _general),
    Use("single eigenvectors", "one separated eigenvector", ("eigenvector",), _general),
    Use("tensor networks and physics", "a subspace or a separated eigenvector, clusters beside it",
        PARTS, _of("cluster")),
    Use("graph Laplacians", "a subspace or an eigenvector, zeros that repeat",
        PARTS, _of("laplacian")),
)  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """How one method does in one use, on the same cases as the others, in the same order."""

    method: str
    right_by_case: Floats
    """Share of seeds that are right, by case."""
    finite_by_case: Floats
    time: Timed | None
    """How long a forward and backward pass takes, if that was measured."""

    @property
    def right(self) -> float:
        """Share that is right to `RIGHT`, over all cases."""
        return float(self.right_by_case.mean())

    @property
    def finite(self) -> float:
        """Share of gradients that are finite."""
        return float(self.finite_by_case.mean())

    @property
    def ratio(self) -> float:
        """Median time of a forward and backward pass over that of `torch.linalg.eigh`."""
        estimate = self.time.ratio if self.time else None
        return estimate.value if estimate else math.nan


def rows_of(measured: Measured, use: Use) -> list[Row]:
    """The rows that belong to a use."""
    # Smaller matrices ask for a formula or a coefficient, and not for a use.
    return [
        row
        for row in measured.rows
        if row.case.loss in use.losses and row.case.d > LARGEST_OF_FORMULAS and use.belongs(row)
    ]


@functools.lru_cache(maxsize=len(USES))  # four parts of a report ask for each
def standings(measured: Measured, use: Use) -> Sequence[Standing]:
    """The methods that were measured on nine of ten cases of the use, on the cases of all."""
    rows = rows_of(measured, use)
    if not any(map(use.asked, rows)):
        return ()
    fair = comparable(rows, measured.iterations)
    methods = values_of(fair, "method")
    return tuple(_standing(measured, method, where(fair, method=method)) for method in methods)


def leaders(found: Sequence[Standing]) -> tuple[list[Standing], list[Standing]]:
    """Those most often right, no difference shown: the ones not shown to be slower, the slower.

    Both with the most often right first, then the fastest.
    """
    best = max(found, key=lambda one: one.right)
    close = [one for one in found if not differ(best.right_by_case, one.right_by_case)]
    close.sort(key=lambda one: (-one.right, math.isnan(one.ratio), one.ratio))
    slower = [one for one in close if any(faster(other, one) > 0 for other in close)]
    return [one for one in close if one not in slower], slower


def faster(one: Standing, other: Standing) -> int:
    """1 if the first is shown to be faster, −1 if slower, 0 if neither is shown."""
    mine, theirs = (standing.time.ratio if standing.time else None for standing in (one, other))
    if mine is None or theirs is None:
        return 0
    if mine.high < theirs.low:
        return 1
    return -1 if theirs.high < mine.low else 0


def recommended(found: Sequence[Standing]) -> tuple[str, str]:
    """What to use, and what is as right but slower, in words."""
    chosen, slower = ([one for one in some if one.right >= ENOUGH] for some in leaders(found))
    if not chosen:
        best = max(found, key=lambda one: one.right)
        return f"none of these; the best is {listed([best])}", ""
    return listed(chosen), listed(slower)


def answers(measured: Measured) -> str:
    """Which one should I use: a row a use, in words that the numbers choose."""
    body = []
    for use in USES:
        found = standings(measured, use)
        if not found:
            continue
        chosen, slower = recommended(found)
        most = max(one.right for one in found)
        bad = [one for one in found if one.right < most / 2]
        body.append(
            [
                use.title,
                use.sees,
                chosen,
                slower or NOTHING,
                listed(sorted(bad, key=lambda one: one.right)) or NOTHING,
                str(len(found[0].right_by_case)),
            ]
        )
    headers = [
        "for",
        "the loss sees",
        "use",
        "as right, slower",
        "less than half as right",
        "cases",
    ]
    return table(headers, body) if body else ""


def sections(measured: Measured) -> list[str]:
    """The answers, and the shares of every method in every use."""
    found = answers(measured)
    if not found or len(values_of(measured.rows, "method")) < 2:
        return []
    return [
        "## Which one for which use",
        "*use*: most often right, or not shown to be less often right (twice the standard error "
        f"of the difference from case to case), and for {percent(ENOUGH)} at least; of those the "
        "ones not shown to be slower. In brackets "
        "the share of seeds that are right to 1 %, and the time of a forward and backward pass "
        "over that of `torch.linalg.eigh` with its own gradient, where it was measured. The cases "
        "are this suite's: exact ties, closing gaps and other scales are many among them.",
        found,
        "Every method: right / finite, in % of seeds. “cannot”: it computes no such function; "
        "“–”: it was measured on too few of the cases, as a reference is.",
        _everything(measured),
    ]


def _everything(measured: Measured) -> str:
    by_use = {use: {s.method: s for s in standings(measured, use)} for use in USES}
    by_use = {use: found for use, found in by_use.items() if found}
    body = []
    for method in measured.methods:
        cells = [_cell(measured, use, method, found) for use, found in by_use.items()]
        times = [found[method].ratio for found in by_use.values() if method in found]
        body.append([method, *cells, f"{times[0]:.2g}" if times and times[0] > 0 else NOTHING])
    return table(["method", *(use.title for use in by_use), "time over `eigh`"], body)


def _cell(measured: Measured, use: Use, method: str, found: dict[str, Standing]) -> str:
    if method in found:
        standing = found[method]
        return f"{_number(standing.right)} / {_number(standing.finite)}"
    own = [row for row in where(measured.rows, method=method) if row.case.loss in use.losses]
    refuses = measured.refused.get(method, {}).keys() & set(use.losses)
    return "cannot" if refuses or any(map(_whitens_otherwise, own)) else NOTHING


def _number(share: float) -> str:
    return percent(share).removesuffix(" %")


def listed(chosen: Sequence[Standing]) -> str:
    """Methods with the share of seeds that are right, and their time."""
    return ", ".join(f"`{one.method}` ({_words(one)})" for one in chosen)


def _words(one: Standing) -> str:
    time = "" if math.isnan(one.ratio) else f", {one.ratio:.2g} ×"
    return f"{percent(one.right)}{time}"


def _standing(measured: Measured, method: str, rows: Sequence[Row]) -> Standing:
    times = [profile for profile in measured.profiles if profile.case.method == method]
    return Standing(
        method=method,
        right_by_case=by_case(rows, lambda row: row.error <= RIGHT),
        finite_by_case=by_case(rows, finite_gradients),
        time=next((profile for profile in times if profile.ratio), None),
    )
