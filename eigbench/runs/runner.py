"""The only loop: what is recorded is skipped, a failing case is caught, each record is kept.

What measures a case is chosen here too, by the kind of the case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from eigbench.errors import (
    LONGEST_MESSAGE,
    InputError,
    NotApplicable,
    RunStopped,
    in_one_line,
    printable,
)
from eigbench.kinds import KINDS, Case
from eigbench.kinds.base import Tools
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Writer
from eigbench.runs.suite import Suite

Measure = Callable[[Any], tuple[dict[str, list[float]], dict[str, list[str]]]]
"""What measures one case: raw numbers and raw words by metric."""

Executor = Callable[[Callable[[Case], Record], Iterable[Case]], Iterator[Record]]
"""Runs a function over cases and yields records as they come, like the built-in `map`."""


def measurer(suite: Suite, plan: Sequence[Case], **tools: Any) -> Measure:
    """The function that measures each case of `plan`, the cases of `suite`, whatever its kind.

    `tools` are fields of `Tools`: what a training keeps and calls, and what keeps the traces of a
    profile. `InputError` if the suite's matrices or images cannot be had.
    """
    planned = {type(case) for case in plan}
    given = Tools(plan=plan, matrices=suite.matrices, training=suite.training, **tools)
    measure_by_type = {
        kind.case: kind.measurer(given) for kind in KINDS.values() if kind.case in planned
    }

    def measure(case: Case) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
        if type(case) not in measure_by_type:
            raise InputError(f"the suite has no case {case.id}")
        return measure_by_type[type(case)](case)

    return measure


def run(
    cases: Iterable[Case],
    measure: Measure,
    writer: Writer,
    observe: Callable[[Record], None] = lambda _: None,
    execute: Executor = map,
) -> None:
    """Measure every case that `writer` does not hold yet, and append its record at once.

    `observe` is called with each record, for progress. `execute` is the executor: `map` measures
    in this process; a cluster's own can take its place.
    """
    missing = [case for case in cases if case.id not in writer.done]
    for record in execute(partial(attempt, measure=measure, session=writer.session), missing):
        writer.append(record)
        observe(record)
    writer.require_own()


def attempt(case: Case, measure: Measure, session: int = 0) -> Record:
    """Measure one case. The one place where a failure becomes a result."""
    started = time.perf_counter()

    def record(status: Any, **content: Any) -> Record:
        elapsed = time.perf_counter() - started
        return Record(
            schema=SCHEMA,
            id=case.id,
            case=case,
            status=status,
            elapsed_seconds=elapsed,
            session=session,
            **content,
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
