"""The only loop: what is recorded is skipped, a failing case is caught, each record is kept.

What measures a case is chosen here too, by the kind of the case. Where it is measured is the
executor's business: in this process or in others, see `eigbench.runs.place`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

import msgspec

from eigbench.errors import (
    LONGEST_MESSAGE,
    InputError,
    NotApplicable,
    RunStopped,
    in_one_line,
    printable,
)
from eigbench.kinds import KINDS, Case
from eigbench.kinds.base import Measure, Tools
from eigbench.runs.environment import Session
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Writer
from eigbench.runs.suite import Suite


@dataclass(frozen=True)
class Batch:
    """Records that one process made, and what belongs to them."""

    session: Session
    """The process; the number by which a record names it is given by who writes."""
    records: Sequence[Record]
    traces: Mapping[str, bytes] = field(default_factory=dict)
    """By path within the run's folder."""


Executor = Callable[[Sequence[Case]], Generator[Batch]]
"""Measures cases, and yields their records as they come, in any order."""


def measurer(suite: Suite, plan: Sequence[Case], **tools: Any) -> Measure:
    """The function that measures each case of `plan`, the cases of `suite`, whatever its kind.

    `tools` are fields of `Tools`: what a training keeps and calls, and what keeps the traces of a
    profile. `InputError` if the suite's matrices or images cannot be had.
    """
    planned = {type(case) for case in plan}
    given = Tools(plan=plan, matrices=suite.matrices, training=suite.training, **tools)
    measure_by_type: dict[type[Case], Measure] = {
        kind.case: resolve_name(kind.measurer)(given)
        for kind in KINDS.values()
        if kind.case in planned
    }

    def measure(case: Case) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
        if type(case) not in measure_by_type:
            raise InputError(f"the suite has no case {case.id}")
        return measure_by_type[type(case)](case)

    return measure


def run(
    cases: Sequence[Case],
    execute: Executor,
    writer: Writer,
    observe: Callable[[Record], None] = lambda _: None,
) -> None:
    """Measure every case that `writer` does not hold yet, and append each record as it comes.

    `observe` is called with each record, for progress. This process alone writes.
    """
    missing = [case for case in cases if case.id not in writer.done]
    # Closed at once whatever is raised here, so that no worker outlives the run.
    with closing(execute(missing)) as batches:
        for batch in batches:
            session = writer.number_of(batch.session)
            for path, content in batch.traces.items():
                writer.keep_trace(path, content)
            for record in batch.records:
                writer.append(msgspec.structs.replace(record, session=session))
                observe(record)
    writer.require_own()


def attempt(case: Case, measure: Measure) -> Record:
    """Measure one case. The one place where a failure becomes a result."""
    started = time.perf_counter()

    def record(status: Any, **content: Any) -> Record:
        elapsed = time.perf_counter() - started
        return Record(
            schema=SCHEMA, id=case.id, case=case, status=status, elapsed_seconds=elapsed, **content
        )

    try:
        samples, labels = measure(case)
    except NotApplicable as reason:
        return record("skipped", reason=printable(str(reason), LONGEST_MESSAGE))
    except (RunStopped, KeyboardInterrupt):
        raise
    # Whatever a method raises is a row of the table; a program that ends itself is no exception.
    except BaseException as error:  # noqa: BLE001
        return record("failed", reason=in_one_line(error))
    written = {name: [number(value) for value in values] for name, values in samples.items()}
    words = {name: [printable(str(word)) for word in some] for name, some in labels.items()}
    return record("measured", samples=written, labels=words)
