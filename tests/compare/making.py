"""Runs to compare that nobody measured: the same records each time, with effects that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eigbench.compare import LEAST_SLOWDOWN
from eigbench.compare.judge import compare_runs
from eigbench.compare.model import CaseComparison, Comparison, Effect
from eigbench.kinds import Case
from eigbench.kinds.profile import REFERENCES, ProfileCase, Profiling
from eigbench.kinds.stability import StabilityCase
from eigbench.runs.environment import Session
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Environment, Run, open_run
from eigbench.runs.suite import Axes, Grid, Suite, cases
from tests.runs.making import session, suite

ROUNDS = 51

Factors = Callable[[ProfileCase, str], float]
"""By how much a pass of a case takes longer than usual."""


def here(**changes: Any) -> Session:
    """The environment that both runs share, but for what is changed."""
    plain = msgspec.structs.replace(
        session(), eigbench="0", packages={"torch": "2.14.1"}, processor="AMD EPYC"
    )
    return msgspec.structs.replace(plain, **changes)


def profile_suite(**axes: Any) -> Suite:
    """Two methods and the reference at two sizes; changed as asked."""
    wanted: dict[str, Any] = {
        "subject": ["operation"], "d": [16, 64], "batch": [64], "dtype": ["float32"],
        "method": ["eigh", "hybrid"], "iterations": [19], "compiled": [False],
    }  # fmt: skip
    return Suite(
        name="made", kind="profile", title="A made profile", axes=Axes(**{**wanted, **axes}),
        profiling=Profiling(rounds=ROUNDS), grids=[Grid()],
    )  # fmt: skip


def profiles(
    of: Suite,
    seed: int,
    factors: Factors = lambda _case, _name: 1.0,
    *,
    between_runs: float = 0.01,
    scatter: float = 0.03,
    rounds: int = ROUNDS,
) -> list[Record]:
    """The records of a run on a machine that drifts, for all contestants alike.

    `between_runs` is the standard deviation with which the ratio to the reference differs from run
    to run; `scatter` that of single rounds.
    """
    draw = np.random.default_rng(seed)
    records = []
    workloads: dict[str, list[ProfileCase]] = {}
    for case in cases(of):
        assert isinstance(case, ProfileCase)
        workloads.setdefault(case.workload.id, []).append(case)
    for contestants in workloads.values():
        load = _drift(draw, rounds) + draw.normal(0, 0.2)  # of the machine in this run
        first: dict[str, list[float]] = {}
        for case in contestants:
            is_first = case.method == REFERENCES[case.subject][0]
            apart = 0.0 if is_first else draw.normal(0, between_runs)
            samples: dict[str, list[float]] = {}
            for name, seconds in (("forward", 4e-4), ("backward", 3e-4)):
                own = math.log(seconds * factors(case, name) * (case.d or 16) / 16)
                noise = draw.normal(0, scatter, rounds) + apart
                samples[f"{name}_seconds"] = list(np.exp(own + load + noise))
            if is_first:
                first = samples
            else:
                samples |= {f"reference_{name}": values for name, values in first.items()}
            samples |= {"block_runs": [2.0], "saved_bytes": [1e6], "forward_operators": [12.0]}
            records.append(record(case, samples))
    return records


def _drift(draw: np.random.Generator, rounds: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A machine that is busy for a while: rounds resemble their neighbours."""
    steps = draw.normal(0, 0.1, rounds)
    load = np.zeros(rounds)
    for index in range(1, rounds):
        load[index] = 0.9 * load[index - 1] + steps[index]
    return load


def record(case: Case, samples: dict[str, list[float]], **fields: Any) -> Record:
    """A record of a case, measured unless `fields` say otherwise."""
    written = {name: [number(float(v)) for v in values] for name, values in samples.items()}
    given = {"status": "measured", "labels": {}, **fields}
    return Record(schema=SCHEMA, id=case.id, case=case, samples=written, **given)


def stability_case(**changes: Any) -> StabilityCase:
    """A case of the suite of `tests.runs.making`, with eight seeds."""
    case = next(case for case in cases(suite()) if isinstance(case, StabilityCase))
    return msgspec.structs.replace(case, **{"seeds": 8, **changes})


def write(folder: Path, of: Suite, records: Iterable[Record], where: Session | None = None) -> Path:
    """Write a run into a new folder."""
    with open_run(folder, of, where or here(), resume=False) as writer:
        for one in records:
            writer.append(one)
    return folder


def compared(
    a: Iterable[Record],
    b: Iterable[Record],
    of: Suite | None = None,
    where: tuple[Session, Session] | None = None,
    **options: Any,
) -> Comparison:
    """Two runs compared, whose records need not be those of their suite."""
    one, other = (
        Run(of or suite(), Environment(schema=SCHEMA, sessions=[where_measured]), [*records])
        for where_measured, records in zip(where or (here(), here()), (a, b), strict=True)
    )
    return compare_runs(("a", one), ("b", other), options.get("threshold", LEAST_SLOWDOWN))


def case_of(found: Comparison, name: str) -> CaseComparison:
    """The case with this name."""
    return next(case for case in found.cases if case.name == name)


def effect_of(case: CaseComparison, quantity: str, *, judged: bool = True) -> Effect:
    """The effect of a case on a quantity: the one that is judged, or the one beside it."""
    return next(
        effect
        for effect in case.effects
        if effect.quantity == quantity and (effect.answer != "not judged") is judged
    )
