"""Which case of one run is which of the other, and in what their environments differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from eigbench.kinds import KINDS, Case
from eigbench.runs.record import Record
from eigbench.runs.store import Run

_PER_RUN = {"started_at", "command", "seed", "packages", "worker", "host"}
"""What belongs to a run and not to its environment; packages are compared one by one."""
MACHINE = {"machine", "processor", "logical_cores", "torch_threads", "device"}
"""With these the same, seconds can be compared with seconds."""
_NOT_RECORDED = "not recorded"
_THEN = ", then "


@dataclass(frozen=True)
class Unit:
    """What is compared as one: a record, or the trials of one cell of trainings."""

    case: Case
    trials: dict[int, Record]
    """By random seed, which ascends; one record that is no trial is by 0."""


Pairs = list[tuple[Unit, Unit]]


def units(records: Iterable[Record]) -> list[Unit]:
    """Records as units, in order. Of two records of a case the later one."""
    found: dict[str, Unit] = {}
    for record in records:
        cell = record.case.cell
        seed = getattr(record.case, "seed", 0) if KINDS[cell.kind].has_trials else 0
        found.setdefault(cell.id, Unit(cell, {})).trials[seed] = record
    return [Unit(unit.case, dict(sorted(unit.trials.items()))) for unit in found.values()]


def match(a: Sequence[Unit], b: Sequence[Unit]) -> tuple[Pairs, list[Unit], list[Unit]]:
    """Pair the units that are the same, then those that differ in what may differ.

    Returns the pairs and what only A has in the order of A, and what only B has in its order.
    """
    partners: dict[int, Unit] = {}
    rest = list(b)
    for allowed in (False, True):
        there = defaultdict[bytes, list[Unit]](list)
        for unit in rest:
            there[_question(unit.case, allowed=allowed)].append(unit)
        for place, unit in enumerate(a):
            if place not in partners and (same := there[_question(unit.case, allowed=allowed)]):
                partners[place] = same.pop(0)
        rest = [unit for units in there.values() for unit in units]
    pairs = [(a[place], partners[place]) for place in sorted(partners)]
    return pairs, [unit for place, unit in enumerate(a) if place not in partners], rest


def _question(case: Case, *, allowed: bool) -> bytes:
    """The case as text, without what may differ if that is allowed."""
    content = msgspec.to_builtins(case)
    names = content.keys() - {*(KINDS[case.kind].may_differ if allowed else ())}
    kept = {name: content[name] for name in names}
    return msgspec.json.encode(kept, order="deterministic")


def differences(a: Unit, b: Unit) -> dict[str, tuple[str, str]]:
    """In what two matched units differ: fields of their cases, and the images of trainings."""
    fields = a.case.__struct_fields__
    values = {name: (getattr(a.case, name), getattr(b.case, name)) for name in fields}
    images = _images(a), _images(b)
    if all(images):
        values["images"] = images
    return {name: (str(one), str(other)) for name, (one, other) in values.items() if one != other}


def _images(unit: Unit) -> str:
    """The starts of the SHA-256 of the images that its trials recorded; "" if none did."""
    hashes = {tuple(record.labels.get("data", ())[1:]) for record in unit.trials.values()} - {()}
    return _THEN.join("/".join(sha[:8] for sha in one) for one in sorted(hashes))


def environments(a: Run, b: Run) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """In what the sessions that measured the runs differ, in A and in B; and what is the same.

    A run that was resumed elsewhere has several values, which are the same as none.
    """
    ours, theirs = _environment(a), _environment(b)
    both = {name: (ours.get(name, _NOT_RECORDED), theirs.get(name, _NOT_RECORDED))
            for name in {**ours, **theirs}}  # fmt: skip
    different = {name: (one, other) for name, (one, other) in both.items() if one != other}
    return different, {n for n in both if n not in different and _THEN not in ours[n]}


def _environment(run: Run) -> dict[str, str]:
    used = sorted({record.session for record in run.records})
    found = defaultdict[str, dict[str, None]](dict)
    sessions = [run.environment.sessions[n] for n in used if n < len(run.environment.sessions)]
    for session in sessions:
        for name, value in {**msgspec.structs.asdict(session), **session.packages}.items():
            if name not in _PER_RUN:
                found[name][str(value)] = None
    return {name: _THEN.join(values) for name, values in found.items()}
