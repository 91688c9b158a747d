"""The one loop: each case once, each failure a row, the executor a parameter."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eigbench.errors import InputError, NotApplicable, RunStopped
from eigbench.kinds import Case
from eigbench.runs import store
from eigbench.runs.record import SCHEMA, Record
from eigbench.runs.runner import Batch, attempt, measurer, run
from eigbench.runs.suite import Grid, Suite, cases
from tests.runs import making


class Unprintable(BaseException):
    """Not even an exception, and it fails when it is printed."""

    def __str__(self) -> str:
        raise SystemExit


SUITE = making.suite()
CASES = cases(SUITE)


def _run(
    folder: Path, measuring: Callable[[Case], making.Measured], **options: Any
) -> list[Record]:
    with store.open_run(folder, SUITE, making.session(), resume=folder.exists()) as writer:
        run(CASES, making.executor(measuring), writer, **options)
    return store.read_run(folder).records


def test_every_case_is_measured_in_order(tmp_path: Path) -> None:
    seen: list[Record] = []
    records = _run(tmp_path / "run", making.measure, observe=seen.append)
    assert [record.case for record in records] == CASES
    assert seen == records
    assert all(record.schema == SCHEMA and record.id == record.case.id for record in records)
    assert all(record.elapsed_seconds > 0 for record in records)


def test_records_are_kept_as_they_come_with_the_session_that_made_them(tmp_path: Path) -> None:
    ended: list[int] = []
    seen: list[Record] = []

    def backwards(missing: Sequence[Case]) -> Generator[Batch]:
        try:
            for case in reversed(missing):
                session = msgspec.structs.replace(making.session(), worker=f"of {case.kind}")
                traces = {f"traces/x/{case.id}": b"content"}
                yield Batch(session, [attempt(case, making.measure)], traces)
        finally:
            ended.append(len((tmp_path / "run" / "records.jsonl").read_bytes().splitlines()))

    with store.open_run(tmp_path / "run", SUITE, making.session(), resume=False) as writer:
        run(CASES, backwards, writer, seen.append)
    found = store.read_run(tmp_path / "run")
    assert [record.case for record in found.records] == CASES
    assert len(seen) == len(CASES)
    assert [record.case for record in seen] == CASES[::-1]
    assert [record.session for record in found.records] == [1, 1, 1, 1]
    assert [one.worker for one in found.environment.sessions] == ["", "of stability"]
    assert (tmp_path / "run" / "traces" / "x" / CASES[0].id).read_bytes() == b"content"

    def stopped(_: Record) -> None:
        raise RunStopped

    with (
        pytest.raises(RunStopped),
        store.open_run(tmp_path / "other", SUITE, making.session(), resume=False) as writer,
    ):
        run(CASES, backwards, writer, stopped)
    assert ended == [4, 4]  # that is, at once, with what workers it may have


def test_a_record_is_kept_before_the_next_case_is_measured(tmp_path: Path) -> None:
    kept: list[int] = []

    def measuring(case: Case) -> making.Measured:
        kept.append((tmp_path / "run" / "records.jsonl").read_bytes().count(b"\n"))
        return making.measure(case)

    _run(tmp_path / "run", measuring)
    assert kept == [0, 1, 2, 3]


def test_what_is_recorded_is_not_measured_again(tmp_path: Path) -> None:
    measured: list[Case] = []

    def measuring(case: Case) -> making.Measured:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(case)
        return making.measure(case)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "run", measuring)
    assert measured == CASES[:2]
    assert [record.case for record in store.read_run(tmp_path / "run").records] == CASES[:2]
    measured.clear()

    def counting(case: Case) -> making.Measured:
        measured.append(case)
        return making.measure(case)

    records = _run(tmp_path / "run", counting)
    assert measured == CASES[2:]
    assert [record.case for record in records] == CASES
    assert [record.session for record in records] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no luck"), "RuntimeError: no luck"),
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (ValueError(), "ValueError: no message"),
        (MemoryError(), "MemoryError: no message"),
        (RecursionError("deep"), "RecursionError: deep"),
        (InputError("wrong"), "InputError: wrong"),
        (AssertionError("\n"), "AssertionError: no message"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit("out"), "GeneratorExit: out"),
        (Unprintable(), "Unprintable: its message cannot be printed"),
        (RuntimeError("x" * 10**6), f"RuntimeError: {'x' * 285}…"),
        (RuntimeError("\x1b[31m\udcff"), "RuntimeError: \\x1b[31m\\udcff"),
    ],
)
def test_whatever_is_raised_is_a_failed_row(error: BaseException, reason: str) -> None:
    def failing(_: Case) -> making.Measured:
        raise error

    record = attempt(CASES[0], failing)
    assert (record.status, record.reason) == ("failed", reason)
    assert (record.samples, record.labels) == ({}, {})
    assert (record.id, record.case) == (CASES[0].id, CASES[0])


def test_what_does_not_apply_is_skipped_with_its_reason() -> None:
    def inapplicable(_: Case) -> making.Measured:
        raise NotApplicable("an eigengap needs two eigenvalues")

    record = attempt(CASES[0], inapplicable)
    assert (record.status, record.reason) == ("skipped", "an eigengap needs two eigenvalues")
    assert record.samples == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunStopped])
def test_being_stopped_is_no_result(error: type[BaseException]) -> None:
    def stopped(_: Case) -> making.Measured:
        raise error

    with pytest.raises(error):
        attempt(CASES[0], stopped)


def test_a_failing_case_does_not_stop_the_others(tmp_path: Path) -> None:
    def measuring(case: Case) -> making.Measured:
        if case == CASES[1]:
            raise RuntimeError("no luck")
        return making.measure(case)

    records = _run(tmp_path / "run", measuring)
    assert [record.status for record in records] == ["measured", "failed", "measured", "measured"]
    assert [record.reason for record in records] == [None, "RuntimeError: no luck", None, None]


def test_a_case_is_measured_by_its_kind() -> None:
    grid = Grid(ratio=[0.5], dtype=["float32"])
    series = Suite(name="s", kind="series", grids=[grid])
    plan = cases(series)
    samples, _ = measurer(series, plan)(plan[0])
    assert samples["least_terms"]
    with pytest.raises(InputError, match=f"the suite has no case {CASES[0].id}"):
        measurer(series, plan)(CASES[0])
