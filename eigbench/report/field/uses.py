"""Which method for which use: the shares that the numbers give, and who leads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eigbench.report.field.measured import Measured, finite_gradients
from eigbench.report.markdown import NOTHING, percent, table
from eigbench.report.profile.profiles import Profile
from eigbench.report.rows import Row, pooled, right_rate, values_of, where

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
    """How one method does in one use. Shares are of seeds; the time is a multiple of `eigh`'s."""

    method: str
    right: float
    finite: float
    seeds: int
    time: Profile | None

    @property
    def ratio(self) -> float:
        """Median time of a forward and backward pass over that of `torch.linalg.eigh`."""
        estimate = self.time.ratio if self.time else None
        return estimate.middle if estimate else math.nan


def standings(measured: Measured, use: Use) -> list[Standing]:
    """All methods that can take every case of the use, on the same cases."""
    # Smaller matrices ask for a formula or a coefficient, and not for a use.
    rows = [row for row in measured.rows if use.belongs(row) and row.case.d > LARGEST_OF_FORMULAS]
    points = {method: _points(where(rows, method=method)) for method in values_of(rows, "method")}
    most = max(map(len, points.values()), default=0)
    full = [method for method, own in points.items() if len(own) >= 0.9 * most]
    shared = set.intersection(*(points[method] for method in full)) if full else set()
    fair = [row for row in rows if _point(row) in shared]
    if not fair:
        return []
    return [_standing(measured, method, where(fair, method=method)) for method in full]


def differ(one: float, other: float, seeds: int) -> bool:
    """Whether two shares of so many seeds are further apart than twice their standard error."""
    middle = (one + other) / 2
    return abs(one - other) > 2 * math.sqrt(2 * middle * (1 - middle) / seeds)


def leaders(found: Sequence[Standing]) -> tuple[list[Standing], list[Standing]]:
    """Those most often right, no difference shown: the ones not shown to be slower, the slower.

    Both with the most often right first, then the fastest.
    """
    best = max(found, key=lambda one: one.right)
    close = [one for one in found if not differ(best.right, one.right, best.seeds)]
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
                listed(sorted(bad, key=lambda one: one.right)[:4]) or NOTHING,
                str(found[0].seeds),
            ]
        )
    headers = [
        "use",
        "the loss sees",
        "use",
        "as right, slower",
        "less than half as often right",
        "seeds",
    ]
    return table(headers, body) if body else ""


def sections(measured: Measured) -> list[str]:
    """The answers, and the shares of every method in every use."""
    found = answers(measured)
    if not found or len(values_of(measured.rows, "method")) < 2:
        return []
    return [
        "## Which one for which use",
        "*use*: most often right, or not shown to be less often right (twice the standard error), "
        "and of those not shown to be slower. In brackets the share of seeds that are right to "
        "1 %, and the time of a forward and backward pass over that of `torch.linalg.eigh` with "
        "its own gradient, where it was measured. The cases are this suite's: exact ties, closing "
        "gaps and other scales are many among them.",
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
    finite = pooled(rows, finite_gradients)
    times = [profile for profile in measured.profiles if profile.case.method == method]
    return Standing(
        method=method,
        right=right_rate(rows),
        finite=float(finite.mean()),
        seeds=len(finite),
        time=next((profile for profile in times if profile.ratio), None),
    )


def _points(rows: Sequence[Row]) -> set[tuple[object, ...]]:
    return {_point(row) for row in rows}


def _point(row: Row) -> tuple[object, ...]:
    case = row.case
    return (case.d, case.spectrum, case.gap, case.scale, case.dtype, case.epsilon, case.loss)
