"""A suite that profiles, measures stability and trains, as the one for a GPU does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.stability import StabilityCase
from eigbench.kinds.train import TrainCase
from eigbench.runs.store import read_run
from eigbench.runs.suite import cases, find, load
from tests.cli.commandline import call

MIXED = """
name = "mixed"
kind = "profile"
compare = "table-2 table-5"

[axes]
method = ["hybrid"]
iterations = [3]
dtype = ["float32"]
compiled = [false]
epsilon = [1e-4]
gap = [0.1]
scale = [1.0]
spectrum = ["gap"]
loss = ["whitening"]
start = [0]
model = ["resnet18"]
d = [4]

[profiling]
rounds = 5

[[grids]]
subject = ["operation"]
batch = [2]
trace = true

[[grids]]
kind = "stability"
seeds = 2

[training]
data = "mini"
train_images = 100
test_images = 20
width = 1
epochs = 1
steps = 1
batch = 8

[[grids]]
kind = "train"
layer = ["bn", "zca"]
seeds = 1

[[grids]]
kind = "train"
layer = ["pca"]
energy = [0.99]
seeds = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of it."""
    cwd = tmp_path_factory.mktemp("mixed")
    (cwd / "mixed.toml").write_text(MIXED)
    words = ("--device", "cpu", "--no-progress", "--out", str(cwd / "run"))
    outcome = call("run", str(cwd / "mixed.toml"), *words)
    assert outcome.code == 0, outcome
    return cwd / "run"


def test_one_run_of_all_kinds_with_one_report(folder: Path) -> None:
    run = read_run(folder)
    kinds = Counter(type(record.case) for record in run.records)
    assert kinds == {ProfileCase: 2, StabilityCase: 1, TrainCase: 3}
    assert {record.status for record in run.records} == {"measured"}
    report = (folder / "report.md").read_text()
    for heading in ("# Time and memory", "# Stability and accuracy", "# Trainings", "Table 2",
                    "Table 5", "Every cell"):  # fmt: skip
        assert heading in report, heading


def test_the_suite_for_a_gpu_covers_what_it_says() -> None:
    planned = cases(load(find("gpu")))
    assert {case.device for case in planned if hasattr(case, "device")} == {"cuda"}
    stability = [case for case in planned if isinstance(case, StabilityCase)]
    assert {case.dtype for case in stability} == {"float32", "float64"}
    profiles = [case for case in planned if isinstance(case, ProfileCase)]
    assert any(case.compiled for case in profiles)
    assert {case.subject for case in profiles} == {"operation", "whitening", "layer", "step"}
    assert {32, 33} <= {case.d for case in profiles}
