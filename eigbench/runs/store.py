"""The folder of a run. Records are appended as they are measured; a kill loses none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from eigbench.errors import InputError
from eigbench.methods.registry import remember
from eigbench.runs.case import SeriesCase
from eigbench.runs.environment import Session
from eigbench.runs.files import write_whole
from eigbench.runs.record import SCHEMA, Record, decode, encode
from eigbench.runs.structure import Suite
from eigbench.runs.suite import load, to_toml

SUITE, RECORDS, ENVIRONMENT, REPORT = "suite.toml", "records.jsonl", "environment.json", "report.md"


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sessions that measured a run, in order."""

    schema: int
    sessions: list[Session]


class Run(msgspec.Struct, frozen=True):
    """Everything that a report is made of."""

    suite: Suite
    environment: Environment
    records: list[Record]


class Writer:
    """An open run, locked for this process. `append` is all that a runner needs of it."""

    def __init__(self, folder: Path, done: list[Record], session: int) -> None:
        self.done = {record.id: record for record in done}
        self.session = session
        # Unbuffered: a record is the system's as soon as it is written.
        self._file = (folder / RECORDS).open("ab", buffering=0)

    def append(self, record: Record) -> None:
        """Write one record, at once."""
        line = encode(record)
        if self._file.write(line) != len(line):
            raise OSError("short write to records.jsonl: is the disk full?")
        self.done[record.id] = record

    def close(self) -> None:
        """Close the file of records."""
        self._file.close()


@contextmanager
def open_run(folder: Path, suite: Suite, session: Session, *, resume: bool) -> Iterator[Writer]:
    """Start a run in `folder`, or go on with the one that is there.

    `InputError` if another process is writing there, if there is a run and `resume` is not asked
    for, or if the run that is there is another suite's. Nothing is changed then.
    """
    if not resume:
        require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        exists = (folder / SUITE).exists()
        if exists:
            _require_same(folder, suite)
            _require_version(folder)
        done = _recover(folder / RECORDS)
        if not exists:
            write_whole(folder / SUITE, to_toml(suite).encode())
        sessions = [*_sessions(folder), session]
        environment = Environment(schema=SCHEMA, sessions=sessions)
        content = msgspec.json.format(msgspec.json.encode(environment), indent=2) + b"\n"
        write_whole(folder / ENVIRONMENT, content)
        writer = Writer(folder, done, len(sessions) - 1)
        try:
            yield writer
        finally:
            writer.close()


def require_free(folder: Path) -> None:
    """Refuse a folder that holds a run, or anything else that a run would be mixed up with."""
    if (folder / SUITE).exists():
        raise InputError(f"{folder} holds a run already; add --resume, or choose another --out")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out takes a folder")
    # A start that was killed may have left the lock, or a part of a file.
    ours = {".lock", f".{SUITE}.part", f".{ENVIRONMENT}.part"}
    if folder.exists() and any(entry.name not in ours for entry in folder.iterdir()):
        raise InputError(f"{folder} is not empty; --out takes a new or empty folder")


def read_run(folder: Path) -> Run:
    """The run in `folder`. A torn last record is left out; nothing is changed."""
    if not (folder / SUITE).is_file():
        raise InputError(f"{folder} holds no run: there is no {SUITE} in it")
    environment = Environment(schema=SCHEMA, sessions=_sessions(folder))
    records, _ = _read_records(folder / RECORDS)
    for case in (record.case for record in records):
        if not isinstance(case, SeriesCase):
            remember(case.method, case.parameters)  # before the suite, which names it, is checked
    return Run(load(folder / SUITE), environment, records)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is writing here; choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def _require_same(folder: Path, suite: Suite) -> None:
    if (folder / SUITE).read_bytes() != to_toml(suite).encode():
        raise InputError(
            f"{folder} holds a run of another suite (see {SUITE} in it); "
            "repeat its options to resume it, or choose another --out"
        )


def _require_version(folder: Path) -> None:
    sessions = _sessions(folder)
    if sessions and sessions[-1].eigbench != (now := _installed()):
        raise InputError(
            f"{folder} was measured by eigbench {sessions[-1].eigbench}, this is {now}; "
            "start a new run"
        )


def _installed() -> str:
    from eigbench import __version__

    return __version__


def _sessions(folder: Path) -> list[Session]:
    path = folder / ENVIRONMENT
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=Environment).sessions
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _read_records(path: Path) -> tuple[list[Record], int]:
    """The records, and the length in bytes of the whole lines that hold them."""
    content = path.read_bytes() if path.exists() else b""
    lines = content.split(b"\n")
    torn = lines.pop()  # what follows the last line break: nothing, unless a write was cut off
    records = []
    for position, line in enumerate(lines, start=1):
        try:
            record = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{path}, line {position}: not a record ({error})") from error
        if record.schema != SCHEMA:
            raise InputError(
                f"{path}, line {position}: schema {record.schema}; this eigbench reads {SCHEMA}"
            )
        if record.id != record.case.id:
            raise InputError(f"{path}, line {position}: the case is not the one of its id")
        records.append(record)
    return records, len(content) - len(torn)


def _recover(path: Path) -> list[Record]:
    """Read the records and cut off a torn last line, whose case is then measured again."""
    records, length = _read_records(path)
    if path.exists() and path.stat().st_size > length:
        os.truncate(path, length)
    return records
