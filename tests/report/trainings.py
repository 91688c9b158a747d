"""A recorded training run that nobody trained: the same records each time it is made.

`python -m tests.report.trainings FOLDER` writes it; `golden-train/run` is what it wrote.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eigbench.kinds import Case
from eigbench.kinds.train import TrainCase, Training
from eigbench.runs.environment import Session
from eigbench.runs.record import SCHEMA, Record, number
from eigbench.runs.store import open_run
from eigbench.runs.suite import Axes, Grid, Suite, cases
from tests.runs.making import session

STEPS, EPOCHS = 40, 2
DIVERGES = ("pi", 16, 0)
"""Method, d and seed of the trial that breaks, and of those that fail and are skipped."""
FAILS = ("svd", 16, 1)
SKIPPED = ("svd-released", 16)
BREAKS_AT = 12
SECONDS = {"bn": 0.040, "svd": 0.052, "svd-released": 0.047, "pi": 0.094, "pi-released": 0.094,
           "hybrid": 0.055, "spectral": 0.050}  # fmt: skip


def suite(**changes: Any) -> Suite:
    """Every method at two sizes, and batch normalisation; changed as asked."""
    wanted: dict[str, Any] = {
        "name": "golden-train",
        "kind": "train",
        "title": "A small training run for the tests",
        "compare": "table-2",
        "scale": "smoke",
        "seeds": 3,
        "axes": Axes(model=["resnet18"], d=[4, 16], epsilon=[1e-4], iterations=[19]),
        "training": Training(data="mini", width=8, epochs=EPOCHS, batch=64, schedule="one-cycle"),
        "grids": [
            Grid(layer=["bn"], method=["hybrid"]),
            Grid(layer=["zca"], method=["svd", "pi", "hybrid", "spectral", "svd-released"]),
        ],
    }
    return Suite(**{**wanted, **changes})


def record(case: Case) -> Record:
    """What a training of the case could have recorded."""
    assert isinstance(case, TrainCase)
    own = (case.method, case.d, case.seed)
    made: dict[str, Any] = {"schema": SCHEMA, "id": case.id, "case": case, "elapsed_seconds": 2.5}
    if own[:2] == SKIPPED:
        return Record(**made, status="skipped", reason="d = 16 is not for this method")
    if own == FAILS:
        return Record(**made, status="failed", reason="RuntimeError: out of memory")
    series = _series(case)
    breaks = own == DIVERGES
    if breaks:
        series = {name: values[: BREAKS_AT + 1] for name, values in series.items()}
        series["loss"][-1] = math.nan
        series["gradient_norm"][-1] = math.inf
        series["layer_gradient_norm"][-3:] = [2.5e3, 4.1e7, math.nan]
    samples = {**series, **_once(case, breaks=breaks)}
    last = f"last finite loss {series['loss'][BREAKS_AT - 1]:.4g}"
    labels = {
        "outcome": ["diverged" if breaks else "finished"],
        "cause": [f"loss not finite at step {BREAKS_AT}; {last}" if breaks else ""],
        "data": ["cifar10-mini", "0" * 64, "1" * 64],
        "peak_of": ["process"],
    }
    written = {name: [number(float(f"{v:.5g}")) for v in vs] for name, vs in samples.items()}
    return Record(**made, status="measured", samples=written, labels=labels)


def _series(case: TrainCase) -> dict[str, list[float]]:
    """One value a step: a loss that falls, noise that depends on the case alone."""
    draw = np.random.default_rng(int(case.cell.id, 16) + case.seed)
    step = np.arange(STEPS)
    noise = draw.normal(size=(5, STEPS))
    level = {"pi": 0.25, "svd-released": 1.0}.get(case.method, 0.0)
    loss = 2.3 - (0.6 - 0.5 * level) * (1 - np.exp(-step / 15)) + 0.05 * noise[0]
    layer = np.exp(0.2 * noise[1] - 1)
    if case.method == "pi":
        layer[20::9] *= 30 * (case.d or 1)
    ratio = 0.85 if case.d == 16 else 0.62
    spectrum = case.layer in {"zca", "pca"}
    values = {
        "loss": loss,
        "gradient_norm": np.exp(0.2 * noise[2]) + layer,
        "layer_gradient_norm": layer,
        "step_seconds": SECONDS[case.method] * (1 + 0.02 * np.abs(noise[3])) + 0.004 * case.seed,
        "rank_kept": np.full(STEPS if spectrum else 0, 0.9 * (case.d or 16)),
        "mean_neighbour_ratio": (ratio + 0.01 * noise[4])[: STEPS if spectrum else 0],
        "neighbour_ratio_above_epsilon": (
            (ratio - 0.01 + 0.01 * noise[4])[: STEPS if spectrum else 0]
        ),
        "smallest_relative_gap": np.exp(noise[4] - 6)[: STEPS if spectrum else 0],
    }
    return {name: list(map(float, series)) for name, series in values.items()}


def _once(case: TrainCase, *, breaks: bool) -> dict[str, list[float]]:
    """What a trial records by epoch, and once."""
    error = {"hybrid": 0.71, "spectral": 0.72, "svd": 0.715, "pi": 0.78}.get(case.method, 0.75)
    error = error - 0.0005 * (case.d or 0) + 0.006 * (case.seed - 1)
    return {
        "validation_error": [] if breaks else [error + 0.1, error],
        "validation_loss": [] if breaks else [2.1, 1.9],
        "epoch_steps": [] if breaks else [STEPS / EPOCHS, STEPS],
        "test_error": [] if breaks else [error + 0.01],
        "peak_bytes": [7e8 + 1e7 * case.seed],
        "steps_planned": [STEPS],
    }


def environment() -> Session:
    """A session of no version in particular, so that a release does not change the report."""
    return msgspec.structs.replace(
        session(), command="eigbench run golden-train", eigbench="0", packages={"torch": "0"}
    )


def write(folder: Path, of: Suite, records: list[Record]) -> None:
    """Write a run into a new folder."""
    with open_run(folder, of, environment(), resume=False) as writer:
        for one in records:
            writer.append(one)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(target, suite(), [record(case) for case in cases(suite())])
