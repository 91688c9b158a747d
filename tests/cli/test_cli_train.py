"""`eigbench train` and training suites, as they are typed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eigbench.measure.half import is_bfloat16_fast
from tests.cli.commandline import ROOT, call, contents, records

QUICK = (
    *("--width", "1", "--epochs", "1", "--batch", "8", "--seeds", "1", "--d", "4"),
    *("--method", "hybrid", "--quiet"),
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of noise images, as `--data FOLDER` takes it: two classes."""
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


def _numbers(folder: Path) -> dict[str, Any]:
    """What a run measured, by case; without times and memory, which differ."""
    return {
        record["id"]: {
            name: values
            for name, values in record["samples"].items()
            if name not in ("step_seconds", "peak_bytes")
        }
        for record in records(folder)
    }


def test_train_writes_records_and_a_report(cwd: Path, pictures: Path) -> None:
    outcome = call("train", *QUICK, "--data", str(pictures), "--out", "run")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "run/report.md\n"
    found = records(cwd / "run")
    assert [r["case"]["method"] for r in found] == ["bn", "hybrid"]
    assert all(r["status"] == "measured" for r in found)
    assert all(r["case"]["data"] == "pictures" for r in found)
    assert not (cwd / "run" / "checkpoints").exists()
    text = (cwd / "run" / "report.md").read_text("utf-8")
    assert "**Not seen in this run:**" in text
    assert str(pictures.parent) not in text.split("## How to repeat it")[0]


def test_every_option_reaches_its_case(
    cwd: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)  # it takes a minute
    outcome = call(
        *("train", "--quiet", "--data", str(pictures), "--out", "run", "--layer", "zca", "pca"),
        *("--method", "spectral", "--d", "8", "--components", "5", "--eps", "1e-3"),
        *("--truncation", "none", "--width", "2", "--epochs", "3", "--steps", "1", "--batch", "4"),
        *("--recipe", "paper", "--lr", "0.05", "--precision", "float64", "--seeds", "1"),
        *("--train-images", "30", "--deterministic", "--compile", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome
    zca, pca = (record["case"] for record in records(cwd / "run"))
    shared = {
        "method": "spectral", "epsilon": 1e-3, "width": 2, "epochs": 3, "steps": 1, "batch": 4,
        "schedule": "steps", "learning_rate": 0.05, "precision": "float64", "train_images": 30,
        "deterministic": True, "compiled": True, "device": "cpu", "model": "resnet18", "seed": 0,
    }  # fmt: skip
    for case in (zca, pca):
        assert {name: case[name] for name in shared} == shared
    own = ("layer", "d", "truncation", "components", "energy")
    assert [zca[name] for name in own] == ["zca", 8, "none", None, None]
    assert [pca[name] for name in own if name != "truncation"] == ["pca", None, 5, None]


def test_a_suite_of_the_paper_runs_on_a_folder(cwd: Path, pictures: Path) -> None:
    text = (ROOT / "suites" / "paper-table5.toml").read_text("utf-8")
    small = text.replace("train_images = 400, test_images = 200", "steps = 1").replace(
        "batch = 64", "batch = 8"
    )
    (cwd / "table5.toml").write_text(small, "utf-8")
    outcome = call(
        *("run", "table5.toml", "--preset", "smoke", "--data", str(pictures), "--quiet"),
        *("--out", "run"),
    )
    assert outcome.code == 0, outcome
    assert [r["case"]["method"] for r in records(cwd / "run")] == [
        "bn", "pi", "svd", "hybrid", "spectral",
    ]  # fmt: skip
    assert 'scale = "smoke"' in (cwd / "run" / "suite.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--layer", "pca"), "--layer pca needs --components or --energy"),
        (("--layer", "ln"), "--layer: 'ln' is not valid; accepted: bn, zca, pca, none"),
        (("--width", "0"), "--width: '0' is not valid; accepted: whole numbers from 1 to"),
        (("--lr", "-1"), "--lr: '-1' is not valid; accepted: numbers above 0"),
        (("--recipe", "old"), "--recipe: 'old' is not valid; accepted: paper, modern"),
        (("--data", "nowhere"), "nowhere"),
        (("--train-images", "5"), "(--train-images), test_images: a share of 0.1 of 5"),
        (("--energy", "0.9"), "--energy is for --layer pca, which is not asked for"),
        (("--layer", "pca", "--d", "4"), "--d is for --layer zca, which is not asked for"),
        (("--batch", "4000"), "batch (--batch): 4000 is more than the 1260 images"),
        (("--train-images", "4000"), "4000 images of cifar10-mini cannot be taken"),
        (("--d", "5"), "d (--d): 5 does not divide the 64 channels"),
        (("--eps", "0"), "epsilon (--eps): 0 is not valid; a layer needs one above 0"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    cwd: Path, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in call("train", *words, "--out", "run").complaint
    assert contents(cwd) == {}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("paper-table2", "--preset", "big"), "--preset: suite 'paper-table2' has no preset 'big'"),
        (("stability", "--preset", "short"), "--preset: suite 'stability' has no preset 'short'"),
        (("stability", "--data", "mini"), "--data: suite 'stability' trains nothing"),
    ],
)
def test_wrong_words_to_run(cwd: Path, words: tuple[str, ...], complaint: str) -> None:
    assert complaint in call("run", *words, "--out", "run").complaint
    assert contents(cwd) == {}


# Killed at any moment

EAGER = """
import sys
import eigbench.measure.training as training
training.SECONDS_BETWEEN_CHECKPOINTS = 0.0
from eigbench.cli.app import invoke
sys.exit(invoke(sys.argv[1:]))
"""
"""The command line, saving after every step."""


def _start(*words: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", EAGER, *words],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def test_a_killed_run_ends_with_the_same_numbers(cwd: Path, pictures: Path) -> None:
    words = (
        *("train", "--data", str(pictures), "--width", "1", "--epochs", "4", "--batch", "8"),
        *("--seeds", "1", "--layer", "zca", "--method", "pi", "--d", "4", "--deterministic"),
        "--quiet",
    )
    assert call(*words, "--out", "whole").code == 0
    process = _start(*words, "--out", "killed", cwd=cwd)
    checkpoints = cwd / "killed" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(checkpoints.glob("*.pt"))
    assert records(cwd / "killed") == []
    assert call(*words, "--out", "killed", "--resume").code == 0
    assert _numbers(cwd / "killed") == _numbers(cwd / "whole")
    assert not checkpoints.exists()


@pytest.mark.parametrize("chosen", [None, "float32"])
def test_the_modern_recipe_takes_what_the_hardware_has(
    chosen: str | None, cwd: Path, pictures: Path
) -> None:
    given = ("--precision", chosen) if chosen else ()
    outcome = call(
        *("train", *QUICK, "--layer", "zca", "--data", str(pictures), "--out", "run"),
        *("--recipe", "modern", "--steps", "1", "--device", "cpu", *given),
    )
    assert outcome.code == 0, outcome
    (record,) = records(cwd / "run")
    assert record["case"]["memory_format"] == "channels_last"
    fast = is_bfloat16_fast(torch.device("cpu"))
    assert record["case"]["precision"] == (chosen or ("bfloat16" if fast else "float32"))
