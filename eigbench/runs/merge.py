"""Joins runs of one suite, of machines that share nothing, into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from eigbench.errors import InputError
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.train import data_name
from eigbench.runs.attachments import trace_of, trace_path
from eigbench.runs.record import Record
from eigbench.runs.store import ENVIRONMENT, Run, Writer, open_run, read_run, require_free
from eigbench.runs.suite import Suite, to_toml


def merge(folders: Sequence[Path], out: Path) -> Run:
    """Write the records of several runs of one suite into the new folder `out`; returns the run.

    A record that several have is kept once. `InputError`, and nothing is written, if the suites,
    the versions of eigbench or the programs of plug-in methods differ, or if two records of a case
    do, but for the time that the case took.
    """
    require_free(out, "merge into a new folder")
    runs = {folder: read_run(folder) for folder in folders}
    first = runs[folders[0]]
    for folder, run in runs.items():
        _require_same(folders[0], first, folder, run)
    kept: dict[str, tuple[Path, Record]] = {}
    for folder, run in runs.items():
        for record in run.records:
            there, earlier = kept.setdefault(record.id, (folder, record))
            if _result(earlier) != _result(record):
                raise InputError(
                    f"{there} and {folder} have different records of one case, {record.id} "
                    f"({record.case.kind}); remove one of the two lines"
                )
    with open_run(out, first.suite, first.environment.sessions[0], resume=False) as writer:
        for folder, run in runs.items():
            own = [record for place, record in kept.values() if place == folder]
            _append(writer, folder, run, own)
    return read_run(out)


def _append(writer: Writer, folder: Path, run: Run, records: Sequence[Record]) -> None:
    """Write these records of a run, with the sessions that measured them and their traces."""
    numbers = [writer.number_of(session) for session in run.environment.sessions]
    for record in records:
        writer.append(msgspec.structs.replace(record, session=numbers[record.session]))
        if isinstance(record.case, ProfileCase) and "trace" in record.labels:
            content = trace_of(folder, record.case)
            if content is not None:
                writer.keep_trace(trace_path(record.case), content)


def _require_same(a: Path, first: Run, b: Path, other: Run) -> None:
    for folder, run in ((a, first), (b, other)):
        if any(record.session >= len(run.environment.sessions) for record in run.records):
            raise InputError(f"{folder}: {ENVIRONMENT} does not say what measured every record")
    if not first.environment.sessions:
        raise InputError(f"{a} holds no records yet; leave it out")
    ours, theirs = _comparable(first.suite), _comparable(other.suite)
    if ours.plugins != theirs.plugins:
        names = sorted({name for name, _ in ours.plugins.items() ^ theirs.plugins.items()})
        raise InputError(f"{a} and {b} were measured with different programs of {', '.join(names)}")
    if to_toml(ours) != to_toml(theirs):
        raise InputError(f"{a} and {b} hold runs of different suites; see suite.toml in each")
    versions = {session.eigbench for run in (first, other) for session in run.environment.sessions}
    if len(versions) > 1:
        raise InputError(
            f"{a} and {b} were measured by different versions of eigbench: "
            f"{', '.join(sorted(versions))}"
        )


def _comparable(suite: Suite) -> Suite:
    """The suite without where its files lie, which is another place on another machine."""
    matrices = suite.matrices and msgspec.structs.replace(suite.matrices, file="")
    training = suite.training
    if training is not None:
        training = msgspec.structs.replace(training, data=data_name(training.data))
    return msgspec.structs.replace(suite, matrices=matrices, training=training)


def _result(record: Record) -> Record:
    """The record without how long it took and what measured it."""
    return msgspec.structs.replace(record, elapsed_seconds=0.0, session=0)
