"""Which case of one run is which of the other, and in what their environments differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from eigbench.compare.model import EnvironmentDiff
from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.stability import StabilityCase
from eigbench.kinds.train import TrainCase
from eigbench.runs.record import Record
from eigbench.runs.store import Run

# What cases may differ in and still be compared, least first. A case is matched with the one that
# is nearest to it: one with a trace with one with a trace, if there is one.
_STEPS: tuple[tuple[str, ...], ...] = (
    (),
    ("device",),
    ("device", "trace"),
    ("device", "trace", "rounds", "seconds"),
    ("device", "trace", "rounds", "seconds", "inputs"),
)
_MORE = {"profile": ("seed",), "stability": ("seeds",)}
"""In the last step. The first seeds of more seeds are the same matrices; a profile's seed makes
matrices that take as long as others. Trials of trainings differ in their seed anyway."""

_PER_RUN = {"started_at", "command", "seed", "packages"}
"""What belongs to a run and not to its environment; packages are walked one by one."""

_MACHINE = ("machine", "processor", "logical_cores", "torch_threads", "device")
"""With these the same, seconds can be compared with seconds."""

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Unit:
    """What is compared as one: a record, or the trials of one cell of trainings."""

    case: Case
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Pair:
    """The same unit in both runs."""

    a: Unit
    b: Unit

    @property
    def differs(self) -> dict[str, tuple[str, str]]:
        """The fields in which the cases differ all the same."""
        names = self.a.case.__struct_fields__
        values = {name: (getattr(self.a.case, name), getattr(self.b.case, name)) for name in names}
        return {
            name: (str(one), str(other)) for name, (one, other) in values.items() if one != other
        }


@dataclass(frozen=True)
class Matched:
    """Every unit of both runs, in the order of A, what only B has in the order of B."""

    pairs: list[Pair]
    only_a: list[Unit]
    only_b: list[Unit]


def units(records: Iterable[Record]) -> list[Unit]:
    """Records as units, in order; trials ascend by seed. Of two records of a case the later one."""
    latest = {record.id: record for record in records}
    found: dict[str, list[Record]] = {}
    cases: dict[str, Case] = {}
    for record in latest.values():
        case = record.case.cell if isinstance(record.case, TrainCase) else record.case
        cases.setdefault(case.id, case)
        found.setdefault(case.id, []).append(record)
    return [Unit(case, tuple(sorted(found[key], key=_seed))) for key, case in cases.items()]


def match(a: Sequence[Unit], b: Sequence[Unit]) -> Matched:
    """Pair the units of two runs, those that are the same first, then those that nearly are."""
    partner: dict[int, Unit] = {}
    taken: set[int] = set()
    for step, ignored in enumerate(_STEPS):
        last = step == len(_STEPS) - 1
        waiting: dict[str, list[int]] = {}
        for index, unit in enumerate(b):
            if index not in taken:
                waiting.setdefault(_key(unit.case, ignored, last=last), []).append(index)
        for index, unit in enumerate(a):
            there = waiting.get(_key(unit.case, ignored, last=last))
            if index not in partner and there:
                found = there.pop(0)
                partner[index] = b[found]
                taken.add(found)
    return Matched(
        [Pair(unit, partner[index]) for index, unit in enumerate(a) if index in partner],
        [unit for index, unit in enumerate(a) if index not in partner],
        [unit for index, unit in enumerate(b) if index not in taken],
    )


def _key(case: Case, ignored: Sequence[str], *, last: bool) -> str:
    """The case without what is ignored, as text."""
    content = msgspec.to_builtins(case)
    more = _MORE.get(content["kind"], ()) if last else ()
    for name in (*ignored, *more):
        content.pop(name, None)
    return msgspec.json.encode(content, order="deterministic").decode()


def _seed(record: Record) -> int:
    case = record.case
    return case.seed if isinstance(case, TrainCase | StabilityCase | ProfileCase) else 0


def environment_diffs(a: Run, b: Run) -> tuple[EnvironmentDiff, ...]:
    """What differs between the environments; of a run resumed elsewhere it has several values."""
    ours, theirs = _sessions(a), _sessions(b)
    found = []
    for name in dict.fromkeys(name for session in [*ours, *theirs] for name in session):
        one, other = (
            ", then ".join(dict.fromkeys(session.get(name, NOT_RECORDED) for session in sessions))
            or NOT_RECORDED
            for sessions in (ours, theirs)
        )
        if one != other:
            found.append(EnvironmentDiff(name=name, a=one, b=other))
    return tuple(found)


def same_machine(a: Run, b: Run) -> bool:
    """Whether both were measured on one kind of processor or device, with as many threads."""
    return _same(a, b, _MACHINE)


def same_torch(a: Run, b: Run) -> bool:
    """Whether a reference, which is torch's own, is the same program in both."""
    return _same(a, b, ("torch",))


def _same(a: Run, b: Run, names: Sequence[str]) -> bool:
    """Whether both have one value of each of these, and the same one."""
    ours, theirs = _sessions(a), _sessions(b)
    found = [{s.get(name, NOT_RECORDED) for s in [*ours, *theirs]} for name in names]
    return bool(ours and theirs) and all(len(values) == 1 for values in found)


def _sessions(run: Run) -> list[dict[str, str]]:
    """The environments of the sessions that measured something, in order."""
    used = {record.session for record in run.records}
    return [
        {name: str(value)
         for name, value in {**msgspec.structs.asdict(session), **session.packages}.items()
         if name not in _PER_RUN}
        for index, session in enumerate(run.environment.sessions)
        if index in used
    ]  # fmt: skip
