"""Whole runs: what is written, what is said, and what a failing method does."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from eigbench.methods import registry
from eigbench.methods.base import Eigenpairs, Method
from tests.cli.commandline import NARROW, SMALL, call, call_apart, contents, records

# What is said


def test_a_run_in_a_process_of_its_own(small: Path) -> None:
    """Its progress is lines where there is no terminal, and it remembers its command."""
    words = ["run", "small.toml", "--out", "a run"]
    outcome = call_apart(*words, cwd=small)
    assert outcome.code == 0
    assert "2/2 cases, 2 measured" in outcome.err
    assert "\x1b" not in outcome.err
    assert "\r" not in outcome.err
    assert len(outcome.out.splitlines()) > 1  # the verdict
    assert outcome.out.splitlines()[-1] == "a run/report.md"
    environment = json.loads((small / "a run" / "environment.json").read_text())
    assert environment["schema"] == 1
    (session,) = environment["sessions"]
    assert session["command"] == shlex.join(["eigbench", *words])
    assert session["device"] == "cpu"


def test_quiet_says_where_the_report_is_and_no_more(small: Path) -> None:
    for words in (["run", "small.toml", "--out"], ["report"]):
        for flag in ("--quiet", "-q"):
            outcome = call(*words, f"run{flag}", flag)
            assert (outcome.code, outcome.out) == (0, f"run{flag}/report.md\n")
            assert outcome.err == ""
            assert (small / f"run{flag}" / "report.md").is_file()


def test_stability_writes_a_dated_run(cwd: Path) -> None:
    outcome = call("stability", *NARROW, "--method", "eigh", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    report = cwd / outcome.out.strip()
    assert report.is_file()
    assert report.parent.parent == cwd / "reports"
    assert report.parent.name.startswith("stability-20")
    names = {path.name for path in report.parent.iterdir()}
    assert {"suite.toml", "records.jsonl", "environment.json", "report.md"} <= names


def test_report_leaves_what_was_measured_alone(small: Path) -> None:
    assert call("run", "small.toml", "--out", "run", "-q").code == 0
    before = contents(small / "run")
    (small / "run" / "report.md").unlink()
    assert call("report", "run", "-q").code == 0
    assert contents(small / "run") == before


def test_seeds_and_device_replace_the_suite_ones(small: Path) -> None:
    assert (
        call("run", "small.toml", "--seeds", "3", "--device", "cpu", "--out", "r", "-q").code == 0
    )
    eigh, hybrid = records(small / "r")
    assert (eigh["case"]["method"], hybrid["case"]["method"]) == ("eigh", "hybrid")
    for record in (eigh, hybrid):
        assert (record["schema"], record["status"], record["reason"]) == (1, "measured", None)
        assert record["case"]["seeds"] == 3
        assert len(record["samples"]) > 10
        for values in [*record["samples"].values(), *record["labels"].values()]:
            assert len(values) == 3


# Methods that fail, and cases that do not apply


@dataclass(frozen=True)
class Unlucky(Method):
    name = "eigh"
    summary = "always fails"
    source = "this test"

    def eigh(self, M: Tensor) -> Eigenpairs:
        raise RuntimeError("no luck today\nnor tomorrow")


def test_a_method_that_fails_is_a_result(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._loaded, "eigh", Unlucky)
    outcome = call("run", "small.toml", "--out", "run")
    assert outcome.code == 0
    assert "2/2 cases, 1 failed, 1 measured" in outcome.err
    failed, measured = records(small / "run")
    assert (failed["case"]["method"], failed["status"]) == ("eigh", "failed")
    assert failed["reason"] == "RuntimeError: no luck today"
    assert failed["samples"] == {}
    assert measured["status"] == "measured"
    assert "no luck today" in (small / "run" / "report.md").read_text(encoding="utf-8")


def test_a_run_in_which_everything_fails(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("eigh", "hybrid"):
        monkeypatch.setitem(registry._loaded, name, Unlucky)
    outcome = call("run", "small.toml", "--out", "run", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert [record["status"] for record in records(small / "run")] == ["failed", "failed"]


def test_a_case_that_does_not_apply_says_why(small: Path) -> None:
    (small / "small.toml").write_text(SMALL.replace("d = [4]", "d = [1]"))
    outcome = call("run", "small.toml", "--out", "run")
    assert outcome.code == 0
    assert "2 skipped" in outcome.err
    for record in records(small / "run"):
        assert record["status"] == "skipped"
        assert "d must be 2 or more" in record["reason"]


# The user's own matrices


def _covariances(count: int, n: int) -> Any:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, 50, n))
    return features.swapaxes(-1, -2) @ features / 50


OWN = (
    *("--method", "eigh", "hybrid", "--iterations", "3", "--loss", "whitening"),
    *("--matrix-scale", "1", "--eps", "1e-4", "--dtype", "float32"),
)


def test_own_matrices_of_several_sizes_and_fewer_seeds(cwd: Path) -> None:
    np.savez(cwd / "mine.npz", a=_covariances(3, 5), b=_covariances(1, 2))
    line = ["stability", "--matrices", "mine.npz", *OWN, "--seeds", "2", "--out", "run", "-q"]
    assert call(*line).code == 0
    found = {
        (*(r["case"][name] for name in ("spectrum", "method", "d", "seeds")), r["status"])
        for r in records(cwd / "run")
    }
    assert found == {
        ("file", method, d, seeds, "measured")
        for method in ("eigh", "hybrid")
        for d, seeds in ((5, 2), (2, 1))
    }


def test_matrices_that_were_symmetrised_are_said_to_be(cwd: Path) -> None:
    matrices = _covariances(2, 4)
    matrices[1, 0, 3] += 1e-6
    np.save(cwd / "mine.npy", matrices)
    line = ("stability", "--matrices", "mine.npy", *OWN, "--no-progress")
    outcome = call(*line, "--out", "run")
    assert outcome.code == 0
    assert outcome.err.startswith("eigbench: mine.npy: symmetrised")
    assert len(outcome.err.splitlines()) == 1
    assert len(outcome.out.splitlines()) > 1  # the verdict
    quiet = call(*line, "--quiet", "--out", "quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "quiet/report.md\n", "")


def test_a_file_of_matrices_that_has_changed_is_refused(cwd: Path) -> None:
    np.save(cwd / "mine.npy", _covariances(2, 4))
    line = ["stability", "--matrices", "mine.npy", *OWN, "--out", "run"]
    assert call(*line, "-q").code == 0
    np.save(cwd / "mine.npy", 2 * _covariances(2, 4))
    before = contents(cwd)
    resumed = call(*line, "--resume")
    assert resumed.code == 2
    assert "another suite" in resumed.err
    assert "Traceback" not in resumed.err
    # Nor does the suite that the run remembers, which names the file and what was in it.
    repeated = call("run", "run/suite.toml", "--out", "run", "--resume")
    assert repeated.code == 2
    assert "mine.npy has changed" in repeated.err
    assert contents(cwd) == before


def test_a_remembered_suite_measures_the_same_matrices(cwd: Path) -> None:
    np.save(cwd / "mine.npy", _covariances(2, 4))
    assert call("stability", "--matrices", "mine.npy", *OWN, "--out", "run", "-q").code == 0
    assert call("run", "run/suite.toml", "--out", "again", "-q").code == 0

    def raw(folder: str) -> list[Any]:
        return [(record["id"], record["samples"]) for record in records(cwd / folder)]

    assert raw("run") == raw("again")
