"""Which case of one run is which of the other, and in what their environments differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.stability import StabilityCase
from eigbench.kinds.train import TrainCase
from eigbench.runs.record import Record
from eigbench.runs.store import Run

# What cases may differ in and still be compared, least first. A case is matched with the one that
# is nearest to it: one with a trace with one with a trace, if there is one. The first seeds of more
# seeds are the same matrices; a profile's seed makes matrices that take as long as others.
_TIMED = ("device", "trace", "rounds", "seconds")
_STEPS = (
    (),
    ("device",),
    ("device", "trace"),
    _TIMED,
    (*_TIMED, "inputs", "profile seed", "stability seeds"),
)

_PER_RUN = {"started_at", "command", "seed", "packages"}
"""What belongs to a run and not to its environment; packages are compared one by one."""
_MACHINE = ("machine", "processor", "logical_cores", "torch_threads", "device")
"""With these the same, seconds can be compared with seconds."""
_NOT_RECORDED = "not recorded"
_THEN = ", then "


@dataclass(frozen=True)
class Unit:
    """What is compared as one: a record, or the trials of one cell of trainings."""

    case: Case
    records: tuple[Record, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Those of its records."""
        return tuple(record.id for record in self.records)


@dataclass(frozen=True)
class Matched:
    """Every unit of both runs, in the order of A, what only B has in the order of B."""

    pairs: list[tuple[Unit, Unit]]
    only_a: list[Unit]
    only_b: list[Unit]


def units(records: Iterable[Record]) -> list[Unit]:
    """Records as units, in order; trials ascend by seed. Of two records of a case the later one."""
    latest = {record.id: record for record in records}
    cells: dict[str, tuple[Case, list[Record]]] = {}
    for record in latest.values():
        case = record.case.cell if isinstance(record.case, TrainCase) else record.case
        cells.setdefault(case.id, (case, []))[1].append(record)
    return [Unit(case, tuple(sorted(own, key=_seed))) for case, own in cells.values()]


def _seed(record: Record) -> int:
    case = record.case
    return case.seed if isinstance(case, TrainCase | StabilityCase | ProfileCase) else 0


def match(a: Sequence[Unit], b: Sequence[Unit]) -> Matched:
    """Pair the units of two runs, those that are the same first, then those that nearly are."""
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for ignored in _STEPS:
        waiting = defaultdict[str, list[int]](list)
        for index, unit in enumerate(b):
            if index not in taken:
                waiting[_key(unit.case, ignored)].append(index)
        for index, unit in enumerate(a):
            if index not in partners and (there := waiting[_key(unit.case, ignored)]):
                partners[index] = there.pop(0)
                taken.add(partners[index])
    return Matched(
        [(a[index], b[partners[index]]) for index in sorted(partners)],
        [unit for index, unit in enumerate(a) if index not in partners],
        [unit for index, unit in enumerate(b) if index not in taken],
    )


def _key(case: Case, ignored: Sequence[str]) -> str:
    """The case without what is ignored, as text."""
    content = msgspec.to_builtins(case)
    kept = {
        name: value
        for name, value in content.items()
        if not {name, f"{content['kind']} {name}"} & {*ignored}
    }
    return msgspec.json.encode(kept, order="deterministic").decode()


def differences(a: Unit, b: Unit) -> dict[str, tuple[str, str]]:
    """In what two matched units differ: fields of their cases, and the images of trainings."""
    found = {
        name: (str(getattr(a.case, name)), str(getattr(b.case, name)))
        for name in a.case.__struct_fields__
        if getattr(a.case, name) != getattr(b.case, name)
    }
    images = _images(a), _images(b)
    return {**found, "images": images} if all(images) and images[0] != images[1] else found


def _images(unit: Unit) -> str:
    """The starts of the SHA-256 of the images that its trials recorded; "" if none did."""
    hashes = {tuple(record.labels.get("data", ())[1:]) for record in unit.records} - {()}
    return _THEN.join("/".join(sha[:8] for sha in one) for one in sorted(hashes))


@dataclass(frozen=True)
class Environments:
    """What both runs were measured in."""

    differences: dict[str, tuple[str, str]]
    """By name, the value in A and in B. A run that was resumed elsewhere has several values."""
    same_machine: bool
    """Whether both have one kind of processor or device, with as many threads."""
    same_torch: bool
    """Whether a reference, which is torch's own, is the same program in both."""


def environments(a: Run, b: Run) -> Environments:
    """Compare the sessions of both runs that measured something."""
    ours, theirs = _environment(a), _environment(b)
    values = {
        name: (ours.get(name, _NOT_RECORDED), theirs.get(name, _NOT_RECORDED))
        for name in {**ours, **theirs}
    }

    def same(*names: str) -> bool:
        return all(
            name in values and values[name][0] == values[name][1] and _THEN not in values[name][0]
            for name in names
        )

    return Environments(
        {name: pair for name, pair in values.items() if pair[0] != pair[1]},
        same(*_MACHINE),
        same("torch"),
    )


def _environment(run: Run) -> dict[str, str]:
    used = sorted({record.session for record in run.records})
    found = defaultdict[str, dict[str, None]](dict)
    sessions = [run.environment.sessions[n] for n in used if n < len(run.environment.sessions)]
    for session in sessions:
        for name, value in {**msgspec.structs.asdict(session), **session.packages}.items():
            if name not in _PER_RUN:
                found[name][str(value)] = None
    return {name: _THEN.join(values) for name, values in found.items()}
