"""Floating-point work, its rate, and its share of the measured peak of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eigbench.report.markdown import NOTHING, percent, scientific
from eigbench.report.profile import writing
from eigbench.report.profile.counted import MOST_SIZES, Kind, both, tables
from eigbench.report.profile.estimates import estimate
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import PASSES, Profile, values_of, where

GIGA = 1e9


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """Work, rate and share of the peak."""
    parts = tables(profiles, names, _KINDS)
    if not parts:
        return []
    return [
        "## Floating-point work",
        "Floating-point operations of one run (M: 10⁶, G: 10⁹). Products of matrices and "
        "convolutions are counted exactly; decompositions by convention, whatever the algorithm "
        "does: 9n³ for a symmetric eigendecomposition with vectors (the symmetric QR algorithm; "
        "Golub and Van Loan, *Matrix Computations*) and 21n³ for a singular value decomposition; "
        "elementwise work, and what is compiled, not at all. The rate is the work of forward and "
        f"backward over their median times.{_peaks(profiles)} At the precision and "
        f"batch with the most sizes, at most {MOST_SIZES} of them; `records.jsonl` has the others.",
        *parts,
    ]


def peak(profile: Profile) -> float:
    """The measured peak in GFLOP/s; NaN if there is none."""
    found = estimate(profile.values("matmul_flops_per_second"))
    return found.middle / GIGA if found else float("nan")


def rate(profile: Profile) -> float:
    """GFLOP/s over forward and backward; NaN if the work or the time is not known."""
    times = [profile.time_of(name) for name in PASSES[:2]]
    if not all(times):
        return float("nan")
    seconds = sum(one.middle for one in times if one)
    return sum(_flops(profile)) / seconds / GIGA


def _work(profile: Profile) -> str:
    return both([writing.operations(flops) for flops in _flops(profile)], " + ")


def _flops(profile: Profile) -> list[float]:
    return [profile.once(f"{name}_flops") for name in PASSES[:2]]


def _rate(profile: Profile) -> str:
    value, top = rate(profile), peak(profile)
    if not (math.isfinite(value) and value > 0):
        return NOTHING
    share = f" ({percent(value / top)})" if top > 0 else ""
    noisy = any(time.noisy for time in map(profile.time_of, PASSES[:2]) if time)
    return f"{writing.MARK if noisy else ''}{scientific(value)}{share}"


_KINDS: list[Kind] = [
    ("operations, forward + backward", _work),
    ("GFLOP/s (share of the peak)", _rate),
]


def _peaks(profiles: Sequence[Profile]) -> str:
    words = []
    for dtype in values_of(profiles, "dtype"):
        known = [p for p in where(profiles, dtype=dtype) if peak(p) > 0]
        if known:
            speeds = known[0].values("matmul_flops_per_second") / GIGA
            ends = " to ".join(map(scientific, (speeds.min(), speeds.max())))
            words.append(f"{scientific(peak(known[0]))} GFLOP/s in {dtype} ({ends})")
    if not words:
        return ""
    return f" The peak is that of a large matrix product, measured: {', '.join(words)}."
