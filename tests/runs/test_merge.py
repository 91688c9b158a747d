"""Runs that are joined, and runs that do not belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from eigbench.errors import InputError
from eigbench.kinds import Case
from eigbench.runs import store
from eigbench.runs.environment import Session
from eigbench.runs.executors import part_of
from eigbench.runs.merge import merge
from eigbench.runs.runner import run
from eigbench.runs.suite import Suite, cases
from tests.runs import making

SUITE = making.suite()
CASES = cases(SUITE)


def _write(
    folder: Path,
    measured: list[Case],
    of: Suite = SUITE,
    by: Session | None = None,
    measure: Callable[[Case], making.Measured] = making.measure,
) -> Path:
    session = by or making.session()
    with store.open_run(folder, of, session, resume=False) as writer:
        run(measured, making.executor(measure, session), writer)
    return folder


def _other(**changes: str) -> Session:
    return msgspec.structs.replace(making.session(), **changes)


def test_parts_of_two_machines_are_the_run(tmp_path: Path) -> None:
    parts = [part_of(CASES, number, 2) for number in (1, 2)]
    assert sorted(case.id for part in parts for case in part) == sorted(c.id for c in CASES)
    assert all(parts)
    a = _write(tmp_path / "a", parts[0])
    b = _write(tmp_path / "b", parts[1], by=_other(host="b"))
    merged = merge([b, a], tmp_path / "c")
    assert [record.case for record in merged.records] == CASES
    assert merged.missing == []
    hosts = [merged.environment.sessions[record.session].host for record in merged.records]
    assert hosts == ["b" if case in parts[1] else "" for case in CASES]
    alone = store.read_run(_write(tmp_path / "alone", CASES))
    assert [record.samples for record in merged.records] == [r.samples for r in alone.records]


def test_a_record_that_both_have_is_kept_once(tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a", CASES[:3]), _write(tmp_path / "b", CASES[1:])
    assert [record.case for record in merge([a, b], tmp_path / "c").records] == CASES


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", CASES[:2])

    def refused(b: Path, said: str) -> None:
        with pytest.raises(InputError, match=said):
            merge([a, b], tmp_path / "c")
        assert not (tmp_path / "c").exists()

    plugins = msgspec.structs.replace(SUITE, plugins={"eigh": "other"})
    refused(_write(tmp_path / "b", CASES, plugins), "different programs of eigh")
    refused(_write(tmp_path / "d", [], making.suite(d=[2])), "runs of different suites")
    old = _write(tmp_path / "e", CASES, by=_other(eigbench="0.0.7"))
    refused(old, r"different versions of eigbench: 0\.0\.7, ")

    def differing(case: Case) -> making.Measured:
        samples, labels = making.measure(case)
        return {**samples, "ends": [0.0, 1.0]}, labels

    refused(_write(tmp_path / "f", CASES, measure=differing), f"records of one case, {CASES[0].id}")
    refused(tmp_path / "nothing", "holds no run")
    (b := _write(tmp_path / "g", CASES) / "environment.json").unlink()
    refused(b.parent, "does not say what measured every record")
    with pytest.raises(InputError, match="holds a run already; merge into a new folder"):
        merge([a, a], a)
