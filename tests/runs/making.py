"""Suites, sessions and records for tests that measure nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec

import eigbench
from eigbench.kinds import Case
from eigbench.kinds.base import changed
from eigbench.kinds.stability import STABILITY_METRICS
from eigbench.kinds.train import Training
from eigbench.runs import store
from eigbench.runs.environment import Session
from eigbench.runs.runner import Batch, Executor, attempt
from eigbench.runs.suite import Axes, Grid, Suite, cases

Measured = tuple[dict[str, list[float]], dict[str, list[str]]]


def suite(**changes: Any) -> Suite:
    """A suite of four cases; `changes` are of its one grid."""
    axes = Axes(
        method=["eigh", "hybrid"],
        d=[4, 8],
        spectrum=["gap"],
        gap=[0.1],
        scale=[1.0],
        dtype=["float32"],
        epsilon=[1e-4],
        iterations=[3],
        loss=["whitening"],
        start=[0],
    )
    return Suite(name="made", kind="stability", seeds=2, axes=axes, grids=[Grid(**changes)])


def session(device: str = "cpu") -> Session:
    """A session of this version on no machine in particular."""
    return Session(
        started_at="2026-01-01T00:00:00+00:00",
        command="eigbench run made",
        eigbench=eigbench.__version__,
        python="3",
        packages={},
        system="system",
        machine="machine",
        processor="processor",
        logical_cores=2,
        torch_threads=1,
        device=device,
        seed=0,
    )


def measure(case: Case) -> Measured:
    """Numbers that depend on the case alone, those that JSON does not have among them."""
    share = int(case.id, 16) / 16**16
    samples = {metric: [share, math.nan] for metric in STABILITY_METRICS}
    return {**samples, "ends": [math.inf, -math.inf]}, {"word": ["é", "λ ≤ ε"]}


def executor(
    measuring: Callable[[Case], Measured] = measure, by: Session | None = None
) -> Executor:
    """What measures one case after the other, in a process that is `session()` by default."""

    def execute(missing: Sequence[Case]) -> Generator[Batch]:
        for case in missing:
            yield Batch(by or session(), [attempt(case, measuring)])

    return execute


def finish(folder: Path, of: Suite, measuring: Callable[[Case], Measured] = measure) -> None:
    """Write a whole run of a suite into `folder`, the same bytes each time."""
    with store.open_run(folder, of, session(), resume=False) as writer:
        for case in cases(of):
            record = attempt(case, measuring)
            writer.append(msgspec.structs.replace(record, elapsed_seconds=0.5))


def training(**settings: Any) -> Training:
    """A recipe on the images that ship with the package."""
    return changed(Training(), settings)
