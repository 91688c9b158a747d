"""Runs made of a few records of stability, as measured or as failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eigbench.kinds.stability import StabilityCase
from eigbench.report.frame import Frames
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import Environment, Run
from eigbench.runs.suite import Axes, Grid, Suite

FINE = {
    "forward_finite": 1.0,
    "function_finite": 1.0,
    "gradient_finite": 1.0,
    "gradient_error": 1e-6,
    "gradient_cosine": 1.0,
    "gradient_norm": 1.0,
    "exact_gradient_norm": 1.0,
    "gradient_bound": 10.0,
    "inside_bound": 1.0,
    "closing_pair_ratio": 1.0,
    "rounding_floor": 1e-7,
    "condition_number": 10.0,
    "smallest_relative_gap": 0.1,
}


def stability(
    status: str = "measured",
    samples: Mapping[str, Sequence[float]] | None = None,
    labels: dict[str, list[str]] | None = None,
    **axes: Any,
) -> Record:
    """A record of two matrices that is right, except for `samples`."""
    values: dict[str, Any] = {
        "method": "eigh", "parameters": {}, "d": 4, "spectrum": "gap", "gap": 0.1, "scale": 1.0,
        "dtype": "float32", "epsilon": 1e-4, "loss": "whitening", "seeds": 2, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    case = StabilityCase(**{**values, **axes})
    gap = case.gap if case.gap is not None else FINE["smallest_relative_gap"]
    fine = {**FINE, "smallest_relative_gap": gap}
    own: dict[str, Sequence[float]] = {name: [value] * case.seeds for name, value in fine.items()}
    written = {name: [*map(number, found)] for name, found in {**own, **(samples or {})}.items()}
    return Record(
        schema=SCHEMA,
        id=case.id,
        case=case,
        status=status,  # type: ignore[arg-type]
        reason=None if status == "measured" else "RuntimeError: no",
        samples=written if status == "measured" else {},
        labels=labels or {},
    )


def lost(**axes: Any) -> Record:
    """A record whose gradients are not finite."""
    nan = [float("nan")] * 2
    return stability(
        samples={"gradient_finite": [0, 0], "gradient_error": nan, "gradient_cosine": nan}, **axes
    )


def run_of(records: Sequence[Record]) -> Run:
    """A run that holds these records, and a suite that plans something else."""
    grid = Grid(method=["eigh"], d=[4], gap=[0.1])
    axes = Axes(spectrum=["gap"], scale=[1.0], dtype=["float32"], epsilon=[1e-4], iterations=[19],
                loss=["whitening"], start=[0])  # fmt: skip
    suite = Suite(name="made", kind="stability", grids=[grid], axes=axes)
    return Run(suite, Environment(schema=SCHEMA, sessions=[]), list(records))


def frames_of(records: Sequence[Record], folder: Path = Path("nowhere")) -> Frames:
    """The frames of these records."""
    return Frames(run_of(records), folder)
