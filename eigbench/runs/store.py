"""The folder of a run. Records are appended as they are measured; a kill loses none of them.

Such a folder may come from somebody else. What is read from it is checked, and nothing is written
through a link that lies in it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from eigbench._version import __version__
from eigbench.axes import NAME
from eigbench.errors import InputError, RunStopped, harmless
from eigbench.kinds import Case
from eigbench.kinds.base import MethodCase, ParameterNames
from eigbench.kinds.train import TrainCase
from eigbench.methods.registry import available, parameter_names, register_unavailable
from eigbench.runs.environment import Session
from eigbench.runs.record import SCHEMA, Record, Recorded, content_of, encode, read
from eigbench.runs.suite import Suite, cases, load, to_toml

SUITE, RECORDS, ENVIRONMENT, REPORT = "suite.toml", "records.jsonl", "environment.json", "report.md"
PACKED = f"{RECORDS}.gz"
"""The records of a complete run, as `gzip` leaves them: a tenth of the size."""
LOCK = ".lock"

_log = logging.getLogger("eigbench")


class Environment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sessions that measured a run, in order."""

    schema: int
    sessions: list[Session]


class Run(msgspec.Struct, frozen=True, dict=True):
    """Everything that a report is made of."""

    suite: Suite
    environment: Environment
    records: list[Record]
    notes: tuple[str, ...] = ()
    """What was left out when it was read."""

    @cached_property
    def plan(self) -> list[Case]:
        """Every case of the suite, recorded or not."""
        # What a method accepts is known by importing it and torch, which takes seconds. Where the
        # records of a complete run show it, they are the plan.
        planned, recorded = self._as_recorded, {record.id for record in self.records}
        if planned and {case.id for case in planned} <= recorded:
            return planned
        return self._planned(parameter_names)

    @cached_property
    def _as_recorded(self) -> list[Case]:
        """The cases of the suite by the parameters that records have; none if it cannot be said."""
        names: dict[str, set[str]] = {}
        for case in (record.case for record in self.records):
            if isinstance(case, MethodCase):
                names.setdefault(case.method, set()).update(case.parameters)
        with suppress(InputError):
            return self._planned(lambda method: names.get(method, set()))
        return []

    def _planned(self, names: ParameterNames) -> list[Case]:
        planned = cases(self.suite, names)
        # What a folder of images is called depends on where the suite ran.
        data = {r.case.data for r in self.records if isinstance(r.case, TrainCase)}
        if len(data) != 1:
            return planned
        (name,) = data
        return [
            msgspec.structs.replace(case, data=name) if isinstance(case, TrainCase) else case
            for case in planned
        ]

    @cached_property
    def strangers(self) -> list[Record]:
        """The records of cases that the suite does not have."""
        if not self.records:
            return []
        known = {case.id for case in (*self.plan, *self._as_recorded)}
        return [record for record in self.records if record.id not in known]

    def harmless(self) -> Run:
        """The same, with words in it that no table, page or picture obeys."""
        replace = msgspec.structs.replace
        suite = replace(self.suite, title=harmless(self.suite.title))
        environment = msgspec.convert(_harmless(msgspec.to_builtins(self.environment)), Environment)
        records = [
            replace(one, reason=_harmless(one.reason), labels=_harmless(one.labels))
            for one in self.records
        ]
        return Run(suite, environment, records, self.notes)

    @cached_property
    def missing(self) -> list[Case]:
        """The cases that have no record; empty for a run that is complete."""
        recorded = {record.id for record in self.records}
        return [case for case in self.plan if case.id not in recorded]


def _harmless(value: Any) -> Any:
    """A value of JSON with every word in it, and every name, `harmless`."""
    if isinstance(value, dict):
        return {harmless(name): _harmless(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [*map(_harmless, value)]
    return harmless(value) if isinstance(value, str) else value


class Writer:
    """An open run, locked for this process. `append` is all that a runner needs of it."""

    def __init__(self, folder: Path, done: list[Record], sessions: list[Session]) -> None:
        self.done = {record.id: record for record in done}
        self._sessions = sessions
        self._first = len(sessions) - 1  # what is before is of earlier processes
        self._folder = folder
        self._path = folder / RECORDS
        # Unbuffered: a record is the system's as soon as it is written.
        self._file = self._path.open("ab", buffering=0)
        self._length = os.fstat(self._file.fileno()).st_size

    def append(self, record: Record) -> None:
        """Write one record, at once; `RunStopped` if it cannot be written."""
        self.require_own()
        line = encode(record)
        try:
            whole, reason = self._file.write(line) == len(line), "the disk is full"
        except OSError as error:
            whole, reason = False, error.strerror or str(error)
        if not whole:
            raise RunStopped(
                f"cannot write {self._path}: {reason}; all records before are kept: repeat the "
                f"command with --resume --out {self._path.parent} to go on"
            )
        self._length += len(line)
        self.done[record.id] = record

    def number_of(self, session: Session) -> int:
        """The number by which records name a session of this run; a new one is written first."""
        if session not in self._sessions[self._first :]:
            self._sessions.append(session)
            _write_environment(self._folder, self._sessions)
        return self._sessions.index(session, self._first)

    def finish(self, other_programs: float) -> None:
        """Write what share of the cores' time other programs took while this process measured."""
        session = self._sessions[self._first]
        share = round(other_programs, 3)
        self._sessions[self._first] = msgspec.structs.replace(session, other_programs=share)
        _write_environment(self._folder, self._sessions)

    def keep_trace(self, path: str, content: bytes) -> None:
        """Write a trace to where `trace_path` says, which is a path within the run's folder."""
        *folders, name = path.split("/")
        write_whole(own_folder(self._folder, *folders) / name, content)

    def require_own(self) -> None:
        """`RunStopped` if the file is not what this process wrote: removed, replaced or changed."""
        own = os.fstat(self._file.fileno())
        try:
            there = self._path.lstat()
        except OSError:
            there = None
        if there is None or not os.path.samestat(own, there) or own.st_size != self._length:
            what = "is gone" if there is None else "was changed by another program"
            raise RunStopped(
                f"{self._path} {what} during the run, which ends here; start a new one"
            )

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
        require_free(folder, "add --resume, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        sessions = [*_sessions(folder), session]
        exists = (folder / SUITE).exists()
        if exists:
            _require_same(folder, suite, sessions[0])
        environment = Environment(schema=SCHEMA, sessions=sessions)
        recorded = _read_records(folder)
        done = _own(folder, suite, environment, recorded).records
        if (folder / PACKED).exists():
            write_whole(folder / RECORDS, content_of(folder / PACKED))
            (folder / PACKED).unlink()
        if (folder / RECORDS).exists():
            # Of a torn last line, whose case is then measured again.
            os.truncate(folder / RECORDS, recorded.length)
        for entry in [entry for entry in folder.iterdir() if _PART.fullmatch(entry.name)]:
            entry.unlink()  # of a process that was killed
        if not exists:
            write_whole(folder / SUITE, to_toml(suite).encode())
        _write_environment(folder, sessions)
        with closing(Writer(folder, done, sessions)) as writer:
            yield writer


def _write_environment(folder: Path, sessions: list[Session]) -> None:
    """Write the sessions of a run."""
    environment = Environment(schema=SCHEMA, sessions=sessions)
    content = msgspec.json.format(msgspec.json.encode(environment), indent=2) + b"\n"
    write_whole(folder / ENVIRONMENT, content)


def require_free(folder: Path, advice: str = "choose another --out") -> None:
    """Refuse a folder that holds a run, or anything else that a run would be mixed up with."""
    if (folder / SUITE).exists():
        raise InputError(f"{folder} holds a run already; {advice}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out takes a folder")
    # A start that was killed may have left the lock, or a part of a file.
    names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    if any(name != LOCK and not _PART.fullmatch(name) for name in names):
        raise InputError(f"{folder} is not empty; --out takes a new or empty folder")


def read_run(folder: Path) -> Run:
    """The run in `folder`. A torn last record is left out; nothing is changed.

    `InputError` if there is none, or if its files do not belong together.
    """
    if not (folder / SUITE).is_file():
        raise InputError(f"{folder} holds no run: there is no {SUITE} in it")
    environment = Environment(schema=SCHEMA, sessions=_sessions(folder))
    recorded = _read_records(folder)
    return _own(folder, load(folder / SUITE), environment, recorded)


def records_path(folder: Path) -> Path:
    """The file with the records of a run, there or not; `InputError` if there are two."""
    plain, packed = folder / RECORDS, folder / PACKED
    if plain.exists() and packed.exists():
        raise InputError(f"{folder} has both {RECORDS} and {PACKED}; remove one of them")
    return packed if packed.exists() else plain


def _read_records(folder: Path) -> Recorded:
    path = records_path(folder)
    _require_regular(path)
    recorded = read(path)
    for note in recorded.notes:
        _log.warning("eigbench: %s: %s", folder, note)
    for number, record in recorded.lines.items():
        case = record.case
        if isinstance(case, MethodCase):
            if case.method not in available() and NAME.accept(case.method) is None:
                raise InputError(f"{path}, line {number}: no method is called {case.method!r}")
            if not all(name.isidentifier() for name in case.parameters):
                raise InputError(f"{path}, line {number}: {[*case.parameters]} are no parameters")
            # Before the suite, which names it, is checked.
            register_unavailable(case.method, case.parameters)
    return recorded


def _own(folder: Path, suite: Suite, environment: Environment, recorded: Recorded) -> Run:
    """The run of these records, in the order of its suite's cases.

    `InputError` if one of them is of another suite.
    """
    run = Run(suite, environment, [*recorded.lines.values()], recorded.notes)
    if run.strangers:
        ids = {record.id for record in run.strangers}
        lines = [str(n) for n, record in recorded.lines.items() if record.id in ids]
        shown = ", ".join(lines[:5]) + (" …" if len(lines) > 5 else "")
        raise InputError(
            f"{records_path(folder)}, line {shown}: not a case of the {SUITE} beside it "
            f"({len(lines)} of {len(recorded.lines)} records); put back what belongs together"
        )
    if run.records:
        # Workers record in any order; a report follows the suite.
        place = {case.id: number for number, case in enumerate(run.plan)}
        run.records.sort(key=lambda record: place.get(record.id, len(place)))
    return run


def _require_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    for name in (LOCK, SUITE, RECORDS, PACKED, ENVIRONMENT):
        if (folder / name).is_symlink():
            raise InputError(f"{folder / name} is a link; a run writes into files of its own alone")
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is writing here; choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def _require_same(folder: Path, suite: Suite, earlier: Session) -> None:
    # What its file leaves out, as a setting that is younger than the run, has its default.
    before = load(folder / SUITE)
    if to_toml(before) != to_toml(suite):
        if to_toml(msgspec.structs.replace(before, plugins=suite.plugins)) == to_toml(suite):
            changed = [
                name for name, sha in suite.plugins.items() if before.plugins.get(name) != sha
            ]
            raise InputError(
                f"the program of {', '.join(changed)} is another one than when {folder} was "
                "started; put it back, or start a new run"
            )
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
    _require_regular(path)
    if not path.exists():
        return []
    try:
        environment = msgspec.json.decode(path.read_bytes(), type=Environment)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if environment.schema != SCHEMA:
        raise InputError(f"{path}: schema {environment.schema}; this eigbench reads {SCHEMA}")
    return environment.sessions


_PART = re.compile(r"\..+\.\d+-\d+\.part")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all. A link in its place is replaced."""
    owner = f"{os.getpid()}-{threading.get_ident()}"
    part = path.with_name(f".{path.name[:100]}.{owner}.part")
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as file:  # which follows no link
            file.write(content)
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def own_folder(run: Path, *names: str) -> Path:
    """A folder within that of a run, made if it is not there; `RunStopped` if it is a link."""
    path = run
    for name in names:
        path /= name
        if path.is_symlink():
            raise RunStopped(f"{path} is a link; a run writes into folders of its own alone")
        path.mkdir(parents=True, exist_ok=True)
    return path
