"""Two measurements on the same matrices: which seeds succeed, and how wrong the gradients are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eigbench.report.compare.chance import discordant, discordant_can_show, paired_logs
from eigbench.report.compare.effects import GRADIENT_ERROR, SUCCESS, Draft, exact
from eigbench.report.rows import Floats, Row, median
from eigbench.report.training.inference import Difference

REPEATING = 0.5
"""Machines that round alike repeat all eigenpairs but those of a method that was changed; of torch
2.14 and 2.15 none in float64 had the same residual, and some gradients at exact ties were finite in
one of them only."""

_LACKS = {
    "inside_bound": "gradient outside its bound",
    "gradient_finite": "gradient not finite",
    "forward_finite": "eigenpairs not finite",
}
"""By flag, what is said of a seed that does not have it; the last that applies says most."""

_SUCCEEDS = "success"


def repeating(pairs: Sequence[tuple[Row, Row]]) -> frozenset[str]:
    """The dtypes in which most eigenpairs have the same residual in both runs, to the last digit.

    There the machines round alike, and what changes on the same matrices is not changed by chance.
    """
    same: dict[str, list[bool]] = {}
    for a, b in pairs:
        found = zip(*(row.metric("forward_residual") for row in (a, b)), strict=False)
        known = [one == other for one, other in found if np.isfinite(one) and np.isfinite(other)]
        same.setdefault(a.case.dtype, []).extend(known)
    return frozenset(dtype for dtype, each in same.items() if each and np.mean(each) >= REPEATING)


def drafts(a: Row, b: Row, *, repeats: bool) -> list[Draft]:
    """The effects of a case that both runs measured, on the matrices that both have."""
    count = min(a.case.seeds, b.case.seeds)
    if not (_is_complete(a) and _is_complete(b)):
        return [Draft(SUCCESS, math.nan, math.nan, note="a record lacks values of some seeds")]
    return [
        _success(a, b, count, repeats=repeats),
        *_gradient_error(a.error[:count], b.error[:count]),
    ]


def _is_complete(row: Row) -> bool:
    names = (*_LACKS, "gradient_error")
    return all(len(row.metric(name)) == row.case.seeds for name in names)


def _success(a: Row, b: Row, count: int, *, repeats: bool) -> Draft:
    ours, theirs = a.success[:count], b.success[:count]
    shares = float(ours.mean()), float(theirs.mean())
    lost, gained = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    note = "; ".join(_transitions(a, b, count))
    if lost == gained and (repeats or not lost):
        return Draft(SUCCESS, *shares, given="changed" if note else "equal", note=note)
    if repeats:
        return exact(SUCCESS, *shares, note=note)
    found = Difference(shares[1] - shares[0], math.nan, math.nan, discordant(lost, gained))
    return Draft(SUCCESS, *shares, found, can_show=discordant_can_show(lost, gained), note=note)


def _transitions(a: Row, b: Row, count: int) -> list[str]:
    """What became of single seeds, such as "success → gradient not finite: seeds 2, 5"."""
    found: dict[str, list[str]] = {}
    for seed, (one, other) in enumerate(zip(_states(a, count), _states(b, count), strict=True)):
        if one != other:
            found.setdefault(f"{one} → {other}", []).append(str(a.case.seed + seed))
    return [
        f"{change}: seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
        for change, seeds in found.items()
    ]


def _states(row: Row, count: int) -> list[str]:
    states = [_SUCCEEDS] * count
    for flag, words in _LACKS.items():
        has = row.metric(flag)[:count] == 1
        states = [state if fine else words for state, fine in zip(states, has, strict=True)]
    return states


def _gradient_error(a: Floats, b: Floats) -> list[Draft]:
    """By seed, of those that have an error above 0 in both runs; the others are `_success`'s."""
    both = np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)
    if not both.any():
        return []
    medians = median(a[both]), median(b[both])
    logs = np.log(b[both] / a[both])
    if not logs.any():
        return [exact(GRADIENT_ERROR, *medians)]
    return [Draft(GRADIENT_ERROR, *medians, paired_logs(logs))]
