"""The folder of a run. Records are appended as they are measured; a kill loses none of them."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from eigbench._version import __version__
from eigbench.errors import InputError, RunStopped
from eigbench.kinds import Case
from eigbench.kinds.base import MethodCase
from eigbench.kinds.profile import ProfileCase
from eigbench.methods.registry import register_unavailable
from eigbench.runs.environment import Session
from eigbench.runs.record import SCHEMA, Record, decode, encode
from eigbench.runs.suite import Suite, cases, load, to_toml

SUITE, RECORDS, ENVIRONMENT, REPORT = "suite.toml", "records.jsonl", "environment.json", "report.md"


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sessions that measured a run, in order."""

    schema: int
    sessions: list[Session]


class Run(msgspec.Struct, frozen=True, dict=True):
    """Everything that a report is made of."""

    suite: Suite
    environment: Environment
    records: list[Record]

    @cached_property
    def plan(self) -> list[Case]:
        """Every case of the suite, recorded or not."""
        recorded: dict[str, set[str]] = {}
        for case in (record.case for record in self.records):
            if isinstance(case, MethodCase):
                recorded.setdefault(case.method, set()).update(case.parameters)
        # What a method accepts is known by importing it and torch, which takes seconds. Where the
        # records of a complete run show it, they are the plan.
        with suppress(InputError):
            planned = cases(self.suite, lambda method: recorded.get(method, set()))
            if {case.id for case in planned} <= {record.id for record in self.records}:
                return planned
        return cases(self.suite)

    @cached_property
    def missing(self) -> list[Case]:
        """The cases that have no record; empty for a run that is complete."""
        recorded = {record.id for record in self.records}
        return [case for case in self.plan if case.id not in recorded]


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
        sessions = [*_sessions(folder), session]
        exists = (folder / SUITE).exists()
        if exists:
            _require_same(folder, suite, sessions[0])
        done, length = _read_records(folder / RECORDS)
        if (folder / RECORDS).exists():
            # Of a torn last line, whose case is then measured again.
            os.truncate(folder / RECORDS, length)
        if not exists:
            write_whole(folder / SUITE, to_toml(suite).encode())
        environment = Environment(schema=SCHEMA, sessions=sessions)
        content = msgspec.json.format(msgspec.json.encode(environment), indent=2) + b"\n"
        write_whole(folder / ENVIRONMENT, content)
        with closing(Writer(folder, done, len(sessions) - 1)) as writer:
            yield writer


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
        if isinstance(case, MethodCase):
            # Before the suite, which names it, is checked.
            register_unavailable(case.method, case.parameters)
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


def _require_same(folder: Path, suite: Suite, earlier: Session) -> None:
    if (folder / SUITE).read_bytes() != to_toml(suite).encode():
        raise InputError(
            f"{folder} holds a run of another suite (see {SUITE} in it); "
            "repeat its options to resume it, or choose another --out"
        )
    if earlier.eigbench != __version__:
        raise InputError(
            f"{folder} was measured by eigbench {earlier.eigbench}, this is {__version__}; "
            "start a new run"
        )


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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


CHECKPOINTS = "checkpoints"


class Checkpoints:
    """One file a case in the folder of a run, while the case is being measured."""

    def __init__(self, run: Path) -> None:
        self._folder = run / CHECKPOINTS

    def load(self, case_id: str) -> dict[str, Any] | None:
        """What was saved last, or None; `RunStopped` if the file is damaged."""
        import torch  # late: takes seconds

        path = self._path(case_id)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise RunStopped(
                f"{path} is damaged ({reason}); remove it, and its trial starts again"
            ) from error
        return state

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace what was saved before. Tensors, numbers, words, and lists and tables of them.

        `RunStopped` if it cannot be written, as on a full disk.
        """
        import torch

        content = io.BytesIO()
        torch.save(state, content)
        try:
            self._folder.mkdir(exist_ok=True)
            write_whole(self._path(case_id), content.getvalue())
        except OSError as error:
            raise RunStopped(
                f"cannot save {self._path(case_id)}: {error.strerror or error}"
            ) from error

    def discard(self, case_id: str) -> None:
        """Remove the checkpoint of a case that is recorded; with the last, the folder."""
        self._path(case_id).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, case_id: str) -> Path:
        return self._folder / f"{case_id}.pt"


TRACES = "traces"
ENDING = ".pt.trace.json.gz"
"""By this the plugin knows a trace; what stands before it, it calls the worker."""


def keep_trace(run: Path, case: ProfileCase, content: bytes) -> str:
    """Write a case's trace; returns its path within the run's folder.

    A workload is a folder, which the plugin calls a run; in it is one file a method.
    """
    path = Path(TRACES) / workload_name(case) / f"{contestant_name(case)}{ENDING}"
    (run / path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(run / path, content)
    return path.as_posix()


def workload_name(case: ProfileCase) -> str:
    """What the cases of a workload have in common, in the letters of a file's name."""
    size = {"d": case.d, "energy-": case.energy, "batch-": case.batch}
    words = [f"{name}{value:g}" for name, value in size.items() if value is not None]
    return "-".join(filter(None, [case.subject, case.layer, *words, case.dtype]))


def contestant_name(case: ProfileCase) -> str:
    """Method, parameters, and whether it is compiled."""
    words = [f"{name}-{value}" for name, value in case.parameters.items()]
    return "-".join([case.method, *words, *(["compiled"] if case.compiled else [])])


BUNDLED = ("figures", "traces")

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # without the time of day, so that the same files give the same


def bundle(folder: Path) -> None:
    """Replace `figures/` by `figures.zip` and `traces/` by `traces.zip`.

    What is in such a file from an earlier session of the run stays in it, unless it was made again.
    """
    for name in BUNDLED:
        if not (folder / name).is_dir():
            continue
        archive, content = folder / f"{name}.zip", {}
        if archive.exists():
            with zipfile.ZipFile(archive) as earlier:
                content = {member: earlier.read(member) for member in earlier.namelist()}
        for path in (folder / name).rglob("*"):
            if path.is_file():
                content[path.relative_to(folder).as_posix()] = path.read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for member in sorted(content):
                packed.writestr(zipfile.ZipInfo(member, _EARLIEST), content[member])
        write_whole(archive, buffer.getvalue())
        shutil.rmtree(folder / name)
