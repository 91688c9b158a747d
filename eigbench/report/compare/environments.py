"""What differs between the places where two runs were measured."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eigbench.report.compare.result import Apart
from eigbench.runs.environment import Session
from eigbench.runs.store import Run

_PER_RUN = {"started_at", "command", "seed", "packages"}
"""What belongs to a run and not to its environment; packages are walked one by one."""

_MACHINE = ("machine", "processor", "logical_cores", "torch_threads", "device")
"""With these the same, a time can be held against a time."""

NOT_RECORDED = "not recorded"


def apart(a: Run, b: Run) -> tuple[Apart, ...]:
    """All in which the environments differ; several values of a run that was resumed elsewhere."""
    ours, theirs = _values(_sessions(a)), _values(_sessions(b))
    names = dict.fromkeys([*ours, *theirs])
    pairs = [(name, ours.get(name, NOT_RECORDED), theirs.get(name, NOT_RECORDED)) for name in names]
    return tuple(Apart(name=name, a=one, b=other) for name, one, other in pairs if one != other)


def same_machine(a: Run, b: Run) -> bool:
    """Whether both were measured on one kind of processor or device, with as many threads."""
    return _same(a, b, _MACHINE)


def same_torch(a: Run, b: Run) -> bool:
    """Whether a reference, which is torch's own, is the same program in both."""
    return _same(a, b, ("torch",))


def _same(a: Run, b: Run, names: Sequence[str]) -> bool:
    """Whether both have one value of each of these, and the same one."""
    sessions = [*_sessions(a), *_sessions(b)]
    found = [[_value(session, name) for session in sessions] for name in names]
    recorded = bool(_sessions(a)) and bool(_sessions(b))
    return recorded and all(len(set(values)) == 1 for values in found)


def _sessions(run: Run) -> list[Session]:
    """The sessions that measured something, in order."""
    used = {record.session for record in run.records}
    return [session for index, session in enumerate(run.environment.sessions) if index in used]


def _values(sessions: Sequence[Session]) -> dict[str, str]:
    names = [name for name in Session.__struct_fields__ if name not in _PER_RUN]
    packages = dict.fromkeys(name for session in sessions for name in session.packages)
    found = {name: [_value(session, name) for session in sessions] for name in [*names, *packages]}
    if not sessions:
        return {}
    return {name: ", then ".join(dict.fromkeys(values)) for name, values in found.items()}


def _value(session: Session, name: str) -> str:
    fields = msgspec.structs.asdict(session)
    return str(fields[name] if name in fields else session.packages.get(name, NOT_RECORDED))
