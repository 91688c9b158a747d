"""A look at every matrix that was given, by arrays: there may be millions.

Each kind of trouble is a number for each matrix, above 0 where there is one: how bad it is. What is
kept are counts, the first few and the worst of each kind, and which matrices to measure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eigbench.data.matrices import SYMMETRY_TOLERANCE
from eigbench.diagnosis.matrices import Matrices, Numbers, Stack
from eigbench.diagnosis.spectrum import FEW_DIGITS, hermitian_part, unit_of
from eigbench.spectra import Floats

WORST = 4
"""The largest number of matrices that are measured, shown in a table and drawn."""
ALONE = 100
"""If a matrix is larger than this, only one is measured."""
NAMED = 3
"""The largest number of matrices that are named one by one."""
CHUNK_BYTES = 2**25
HALF = frozenset({"float16", "bfloat16"})
FLOAT32 = np.finfo(np.float32)

Say = Callable[[str], None]
"""Is told, in a few words, what takes long."""


@dataclass
class Group:
    """The matrices of which one thing is true."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """At most `NAMED` of them."""
    worst: int = -1
    badness: float = 0.0


@dataclass(frozen=True, eq=False)
class Census:
    """What was found on all matrices."""

    groups: dict[str, Group]
    """By the kind of finding; only those that any matrix is in."""
    chosen: tuple[int, ...]
    """Those to measure: with the smallest gaps, and the largest condition numbers."""


def census_of(matrices: Matrices, say: Say) -> Census:
    """Look at every matrix once."""
    groups: dict[str, Group] = {}
    closest: list[tuple[float, int]] = []
    worst_conditioned: list[tuple[float, int]] = []
    total = len(matrices)
    largest = max(max(stack.entries.shape[1:]) for stack in matrices.stacks)
    for start, stack, entries in _chunks(matrices):
        if total * largest > 10 * ALONE:
            say(f"looking at {total} matrices: {100 * start // total} %")
        badness, share, condition = _facts(stack, entries)
        for kind, bad in badness.items():
            _add(groups.setdefault(kind, Group()), bad, start)
        _keep(closest, share, start)
        _keep(worst_conditioned, 1 / condition, start)
    most = WORST if largest <= ALONE else 1
    by_gap = [index for _, index in sorted(closest)]
    by_condition = [index for _, index in sorted(worst_conditioned)]
    half = -(-most // 2)
    chosen = dict.fromkeys([*by_gap[:half], *by_condition[: most - half], *by_gap])
    found = {kind: group for kind, group in groups.items() if group.count}
    return Census(found, tuple(chosen)[:most])


def _chunks(matrices: Matrices) -> Iterator[tuple[int, Stack, Numbers]]:
    """Parts of stacks that fit into little memory, each with the index of its first matrix."""
    before = 0
    for stack in matrices.stacks:
        size = max(1, CHUNK_BYTES // max(1, stack.entries[:1].nbytes))
        for start in range(0, len(stack.entries), size):
            yield before + start, stack, stack.entries[start : start + size]
        before += len(stack.entries)


def _add(group: Group, badness: Floats, start: int) -> None:
    bad = np.flatnonzero(badness > 0)
    if not len(bad):
        return
    group.count += len(bad)
    group.first += [start + int(i) for i in bad[: NAMED - len(group.first)]]
    worst = int(bad[badness[bad].argmax()])
    if badness[worst] > group.badness:
        group.badness, group.worst = float(badness[worst]), start + worst


def _keep(best: list[tuple[float, int]], values: Floats, start: int) -> None:
    """Keep the `WORST` smallest values, with their indices; NaN: a matrix without spectrum."""
    usable = np.flatnonzero(~np.isnan(values))
    smallest = usable[np.argsort(values[usable], kind="stable")[:WORST]]
    found = [*best, *((float(values[i]), start + int(i)) for i in smallest)]
    best[:] = heapq.nsmallest(WORST, found)


def _facts(stack: Stack, entries: Numbers) -> tuple[dict[str, Floats], Floats, Floats]:
    """How bad each matrix is in each respect, its smallest gap by ‖M‖, its condition number."""
    count = len(entries)
    magnitudes = np.abs(entries).reshape(count, -1)
    finite: Any = np.isfinite(magnitudes).all(axis=1)
    largest = np.where(finite, magnitudes.max(axis=1), np.nan)
    scale = np.where(finite & (largest > 0), largest, 1)[:, None, None]
    scaled = np.where(finite[:, None, None], entries, 0) / scale
    square = stack.decomposition == "eigh"
    asymmetry = np.zeros(count)
    if square:
        difference = np.abs(scaled - scaled.conj().swapaxes(-1, -2))
        asymmetry = difference.reshape(count, -1).max(axis=1)
        values: Any = np.linalg.eigvalsh(hermitian_part(scaled))
    else:
        values = np.linalg.svd(scaled, compute_uv=False)[:, ::-1]
    unit = unit_of(stack.matrix(0))
    size = np.abs(values)
    norm = np.where(size.max(axis=1) > 0, size.max(axis=1), 1)
    floor = max(entries.shape[1:]) * unit * norm
    zeros = (size <= floor[:, None]).sum(axis=1)
    negative = np.maximum(-values[:, 0] - floor, 0) if square else np.zeros(count)
    with np.errstate(divide="ignore"):
        condition = norm / size.min(axis=1)
    few = (condition * unit > FEW_DIGITS) & (zeros == 0) & (negative == 0)
    k = values.shape[1]
    tiny, most = float(FLOAT32.tiny), float(FLOAT32.max)
    badness = {
        "not_finite": (~finite).astype(float),
        "asymmetric": asymmetry * (asymmetry > SYMMETRY_TOLERANCE),
        "half": np.full(count, float(stack.dtype in HALF)),
        "out_of_range": ((largest > 0) & ~((largest >= tiny) & (largest <= most))).astype(float),
        "one_by_one": np.full(count, float(k == 1 and square)),
        "indefinite": negative / norm,
        "singular": np.where(negative > 0, 0, zeros / k) if square else np.zeros(count),
        "ill_conditioned": np.where(few & square, condition, 0),
    }
    for kind in badness.keys() - {"not_finite", "half"}:
        badness[kind] = np.where(finite, badness[kind], 0)
    gaps = np.diff(values, axis=1)
    share = gaps.min(axis=1, initial=np.inf) / norm
    return badness, np.where(finite, share, np.nan), np.where(finite, condition, np.nan)
