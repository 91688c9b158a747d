"""Which method for which use: the shares that the numbers give, and who leads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eigbench.report.field.measured import Measured, finite_gradients
from eigbench.report.markdown import NOTHING, percent, table
from eigbench.report.profile.profiles import Profile
from eigbench.report.rows import RIGHT, Floats, Row, by_case, comparable, differ, values_of, where

LARGEST_OF_FORMULAS = 3


@dataclass(frozen=True)
class Use:
    """A use, and the cases that ask what it asks."""

    title: str
    sees: str
    belongs: Callable[[Row], bool]


def _loss(*losses: str) -> Callable[[Row], bool]:
    return lambda row: row.case.loss in losses and row.case.spectrum != "laplacian"


def _spectrum(spectrum: str, *losses: str) -> Callable[[Row], bool]:
    return lambda row: row.case.loss in losses and row.case.spectrum == spectrum


def _zca(row: Row) -> bool:
    """Whitening by `M^(−1/2)`, and not by another matrix."""
    return _loss("whitening")(row) and "whitens_by" not in row.record.labels


USES = (
    Use("ZCA whitening", "M^(−1/2)", _zca),
    Use("whitening, by any matrix", "W with W M Wᵀ = I", _loss("whitening")),
    Use("PCA", "the leading subspace", _loss("subspace")),
    Use("second-order pooling", "M^(1/2)", _loss("square-root")),
    Use("single eigenvectors", "one separated eigenvector", _loss("eigenvector")),
    Use("tensor networks, physics", "a subspace or a separated eigenvector, clusters beside it",
        _spectrum("cluster", "subspace", "eigenvector")),
    Use("graph Laplacians", "a subspace or an eigenvector, zeros that repeat",
        _spectrum("laplacian", "subspace", "eigenvector")),
)  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """How one method does in one use, on the same cases as the others, in the same order."""

    method: str
    right_by_case: Floats
    """Share of seeds that are right, by case."""
    finite_by_case: Floats
    time: Profile | None
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
        return estimate.middle if estimate else math.nan


@functools.lru_cache(maxsize=len(USES))  # four parts of a report ask for each
def standings(measured: Measured, use: Use) -> Sequence[Standing]:
    """The methods that were measured on nine of ten cases of the use, on the cases of all."""
    # Smaller matrices ask for a formula or a coefficient, and not for a use.
    rows = [row for row in measured.rows if use.belongs(row) and row.case.d > LARGEST_OF_FORMULAS]
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


def answers(measured: Measured) -> str:
    """Which one should I use: a row a use, in words that the numbers choose."""
    body = []
    for use in USES:
        found = standings(measured, use)
        if not found:
            continue
        chosen, slower = leaders(found)
        bad = [one for one in found if one.right < chosen[0].right / 2]
        body.append(
            [
                use.title,
                use.sees,
                listed(chosen),
                listed(slower) or NOTHING,
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
        "of the difference from case to case), and of those not shown to be slower. In brackets "
        "the share of seeds that are right to 1 %, and the time of a forward and backward pass "
        "over that of `torch.linalg.eigh` with its own gradient, where it was measured. The cases "
        "are this suite's: exact ties, closing gaps and other scales are many among them.",
        found,
        "Every method: right / finite, in % of seeds. “cannot”: it computes no such function.",
        _everything(measured),
    ]


def _everything(measured: Measured) -> str:
    by_use = {use.title: {s.method: s for s in standings(measured, use)} for use in USES}
    by_use = {title: found for title, found in by_use.items() if found}
    body = []
    for method in measured.methods:
        cells = [_shares(found.get(method)) for found in by_use.values()]
        times = [found[method].ratio for found in by_use.values() if method in found]
        body.append([method, *cells, f"{times[0]:.2g}" if times and times[0] > 0 else NOTHING])
    return table(["method", *by_use, "time over `eigh`"], body)


def _shares(standing: Standing | None) -> str:
    if standing is None:
        return "cannot"
    return f"{_number(standing.right)} / {_number(standing.finite)}"


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
