"""A recorded run of profiles that nobody timed: times that follow a formula.

`python -m tests.report.profile.profiled FOLDER` writes it; `golden-profile/run` is what it wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eigbench.kinds import Case
from eigbench.kinds.profile import ProfileCase, Profiling
from eigbench.report.costs import Costs
from eigbench.report.frame import Frames
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Environment, Run, open_run
from eigbench.runs.suite import Axes, Grid, Suite, cases
from tests.report.trainings import environment

ROUNDS = 11
RATIOS = {
    "torch.linalg.eigh": 1.0, "eigh": 1.02, "hybrid": 1.30, "pi": 4.0, "spectral": 1.1,
    "bn": 1.0, "none": 0.5,
}  # fmt: skip
"""Each method's time over that of the workload's first reference, exactly, in every round."""
COMPILED = 0.8
"""A compiled method's time over its own, in every round."""
NOISY = ("pi", "float64")
"""Its rounds reach from half to one and a half of their median; those of others ± a hundredth."""
CLIFF, BATCH_OF_CLIFF = 6.0, 256
"""So many times slower from d = 33 on, at this batch alone."""
FAILS = ("pi", 64)
SKIPPED = "float16"
PEAK = 5e10
SHARES = {
    "operation": {"forward": 0.6, "backward": 0.4},
    "layer": {"forward": 0.5, "backward": 0.5},
    "step": {"forward": 0.3, "backward": 0.6, "update": 0.1},
}
"""How the time of a run is spent."""


def suite(**changes: Any) -> Suite:
    """Operations by size and batch, a layer and a step with their references; some traced."""
    wanted: dict[str, Any] = {
        "name": "golden-profile",
        "kind": "profile",
        "title": "A small profile for the tests",
        "axes": Axes(
            method=["eigh", "hybrid", "pi"], iterations=[19], compiled=[False],
            dtype=["float32"], batch=[16], d=[16], layer=["zca"], energy=[0.99],
        ),
        "profiling": Profiling(rounds=ROUNDS),
        "grids": [
            Grid(subject=["operation"], d=[8, 16, 32, 33, 64, 128], batch=[1, BATCH_OF_CLIFF]),
            Grid(subject=["operation"], d=[16, 64], batch=[4, 16],
                 method=["hybrid", "spectral"]),
            Grid(subject=["operation"], d=[16], batch=[1], dtype=["float64", "float16"]),
            Grid(subject=["operation"], method=["hybrid"], compiled=[True], d=[32],
                 batch=[BATCH_OF_CLIFF]),
            Grid(subject=["layer"], layer=["zca", "pca"], d=[4, 16], batch=[128],
                 method=["hybrid", "pi"]),
            Grid(subject=["step"], batch=[128], method=["hybrid", "pi"], trace=True),
            Grid(subject=["step"], batch=[128], method=["hybrid"], layer=["pca"],
                 iterations=[2]),
        ],
    }  # fmt: skip
    return Suite(**{**wanted, **changes})


def seconds(case: ProfileCase) -> float:
    """The time of the first reference in the workload of a case, by a formula.

    An operation: 10 µs of overhead, then work that is cubic in d and grows with the batch.
    """
    if case.subject != "operation":
        return {"layer": 2e-3, "step": 0.1}[case.subject]
    d = case.d or 0
    slower = CLIFF if d > 32 and case.batch == BATCH_OF_CLIFF else 1.0
    return 1e-5 + slower * 1e-9 * d**3 * case.batch


def factors(rounds: int = ROUNDS, spread: float = 0.01) -> NDArray[np.float64]:
    """What the rounds are multiplied by: 1 in the median, and as far on either side of it."""
    return 1 + spread * np.random.default_rng(0).permutation(np.linspace(-1, 1, rounds))


def record(case: Case, **changes: list[float]) -> Record:
    """What a profile of the case could have recorded; samples changed as asked."""
    assert isinstance(case, ProfileCase)
    made: dict[str, Any] = {"schema": SCHEMA, "id": case.id, "case": case, "elapsed_seconds": 1.0}
    if case.dtype == SKIPPED:
        return Record(**made, status="skipped", reason=f"{case.method} does not take float16")
    if case.subject == "operation" and (case.method, case.d) == FAILS:
        return Record(**made, status="failed", reason="OutOfMemoryError: 3 GiB were asked for")
    samples = {**times(case), **anatomy(case), **(timeline() if case.trace else {}), **changes}
    written = {name: [number(float(f"{v:.6g}")) for v in vs] for name, vs in samples.items()}
    return Record(**made, status="measured", samples=written, labels=labels(case))


def times(case: ProfileCase) -> dict[str, list[float]]:
    """The rounds of a case and of its reference, which drift together."""
    reference = seconds(case) * factors()
    own = RATIOS[case.method] * (COMPILED if case.compiled else 1.0)
    noise = factors(spread=0.5) if (case.method, case.dtype) == NOISY else 1.0
    shares = SHARES[case.subject]
    found = {f"{name}_seconds": list(share * own * noise * reference)
             for name, share in shares.items()}  # fmt: skip
    if case.method not in ("torch.linalg.eigh", "bn"):
        for name, share in shares.items():
            found[f"reference_{name}_seconds"] = list(share * reference)
    first = 12.0 if case.compiled else 0.02
    return {**found, "block_runs": [4.0], "first_call_seconds": [first]}


def anatomy(case: ProfileCase) -> dict[str, list[float]]:
    """Memory, operators and work."""
    d, batch = case.d or 16, case.batch
    matrix = (8.0 if case.dtype == "float64" else 4.0) * d * d * batch
    hybrid = case.method == "hybrid"
    found = {
        "peak_bytes": [(9 if hybrid else 6) * matrix],
        "saved_bytes": [2 * matrix],
        "forward_operators": [12.0],
        "backward_operators": [25.0 if hybrid else 9.0],
        "matmul_flops_per_second": [PEAK * f for f in (0.99, 1.0, 1.01, 0.98, 1.02)],
        "phase_seconds": [2e-3, 4e-3, 5e-3, 1e-3, 3e-3, 2e-3],
        "operator_self_seconds": [4e-3, 3e-3, 1e-3],
        "operator_calls": [1.0, 6.0, 12.0],
    }
    if not case.compiled:
        found |= {"forward_flops": [9.0 * d**3 * batch], "backward_flops": [8.0 * d**3 * batch]}
    return found


def labels(case: ProfileCase) -> dict[str, list[str]]:
    """The words that belong to the lists of numbers."""
    found = {
        "clock": ["wall"],
        "contest": [case.workload.id],
        "phase": ["covariance", "decomposition", "products", "coefficients", "products", "other"],
        "phase_pass": ["forward", "forward", "forward", "backward", "backward", "update"],
        "operator": ["aten::_linalg_eigh", "aten::bmm", "aten::mul"],
    }
    if case.subject == "operation":
        function = case.method == "spectral"
        found["operation"] = ["inverse square root" if function else "eigenpairs"]
    if case.trace:
        found["trace"] = [f"traces/{case.subject}-zca-d{case.d}/{case.method}.pt.trace.json.gz"]
        found["lane"] = ["pass", "phase", "operators"]
        found["event"] = ["forward", "backward", "decomposition", "aten::linalg_eigh", "aten::bmm"]
    return found


def timeline() -> dict[str, list[float]]:
    """Five events in three lanes."""
    return {
        "event_start_seconds": [1.000, 1.006, 1.001, 1.0015, 1.006],
        "event_seconds": [0.006, 0.004, 0.004, 0.003, 0.003],
        "event_lane": [0, 0, 1, 2, 2],
    }


def profile_case(**changes: Any) -> ProfileCase:
    """One case: an operation by the hybrid, changed as asked."""
    wanted: dict[str, Any] = {
        "subject": "operation", "method": "hybrid", "parameters": {"iterations": 19},
        "layer": None, "d": 16, "energy": None, "batch": 1, "dtype": "float32",
        "compiled": False, "inputs": "fresh", "rounds": ROUNDS, "seconds": 5.0, "trace": False,
        "seed": 0, "device": "cpu",
    }  # fmt: skip
    return ProfileCase(**{**wanted, **changes})


def frames(
    records: Sequence[Record], planned: Sequence[Case] = (), folder: Path = Path()
) -> Frames:
    """Frames of these records alone, in which nothing else is planned but what is named."""
    environment_ = Environment(schema=SCHEMA, sessions=[environment()])
    run = Run(suite=suite(), records=list(records), environment=environment_)
    run.__dict__["plan"] = list(planned)  # a cached property
    return Frames(run, folder)


def costs(*records: Record) -> Costs:
    """The costs of these records alone."""
    return Costs(frames(records))


def write(folder: Path, of: Suite, records: list[Record]) -> None:
    """Write a run of the records into a new folder."""
    session = msgspec.structs.replace(environment(), command=f"eigbench run {of.name}")
    with open_run(folder, of, session, resume=False) as writer:
        for one in records:
            writer.append(one)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(target, suite(), [record(case) for case in cases(suite())])
