"""The end of every report: where it was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eigbench.report.compose import _places
from eigbench.report.render import render
from eigbench.runs import store
from tests.runs import making


def _measured(folder: Path, *places: tuple[str, str, int]) -> str:
    """The entries of a run of four cases by the workers and hosts of its sessions."""
    making.finish(folder, making.suite())
    run = store.read_run(folder)
    sessions = [
        msgspec.structs.replace(making.session(), worker=worker, host=host, torch_threads=threads)
        for worker, host, threads in places
    ]
    records = [
        msgspec.structs.replace(record, session=number % len(sessions))
        for number, record in enumerate(run.records)
    ]
    environment = msgspec.structs.replace(run.environment, sessions=sessions)
    entries = _places(store.Run(run.suite, environment, records))
    hosts = {session.host for session, *_ in entries}
    return render("run-environment", sessions=entries, several_hosts=len(hosts) > 1)


def test_one_process_is_as_it_was(tmp_path: Path) -> None:
    text = _measured(tmp_path / "run", ("", "0a", 1))
    assert "4 cases on cpu, processor" in text
    assert "0a" not in text


def test_like_workers_of_a_machine_are_one_entry(tmp_path: Path) -> None:
    text = _measured(
        tmp_path / "run", ("a", "0a", 1), ("b", "0a", 1), ("c", "0b", 1), ("d", "0b", 2)
    )
    entries = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(entries) == 3
    assert "2 cases in 2 workers of machine 0a on cpu" in entries[0]
    assert "1 case in 1 worker of machine 0b on cpu" in entries[1]
    assert "2 torch threads" in entries[2]
