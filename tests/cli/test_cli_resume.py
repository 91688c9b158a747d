"""Runs that are interrupted, killed, gone on with, or mixed up."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from eigbench.cli import surroundings
from tests.cli.commandline import SMALL, call, contents, finish, records, start

CASES = 30
LONG = (
    SMALL.replace('"eigh", "hybrid"', '"hybrid-loop"')
    .replace("iterations = [3]", "iterations = [100]")
    .replace("d = [4]", "d = [" + ", ".join(str(d) for d in range(2, CASES + 2)) + "]")
)
"""Cases that take some seconds in all, the last of them most: the loop runs n·K times for each."""


@pytest.fixture
def small(small: Path) -> Path:
    """And other suites."""
    (small / "other.toml").write_text(SMALL.replace("gap = [0.1]", "gap = [0.2]"))
    (small / "long.toml").write_text(LONG)
    return small


def _lines(folder: Path) -> list[bytes]:
    path = folder / "records.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _wait_for_records(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(_lines(folder)) < count:
        assert process.poll() is None, "it has ended before it could be stopped"
        time.sleep(0.005)


@pytest.fixture
def running(small: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has recorded a few of its cases, in the folder `run`."""
    process = start("run", "long.toml", "--out", "run", cwd=small)
    try:
        _wait_for_records(small / "run", 3, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def _require_complete(folder: Path) -> None:
    found = records(folder)
    assert len(found) == CASES
    assert len({record["id"] for record in found}) == CASES
    assert {record["case"]["d"] for record in found} == set(range(2, CASES + 2))
    assert {record["status"] for record in found} == {"measured"}
    environment = json.loads((folder / "environment.json").read_text())
    assert len(environment["sessions"]) == 2
    assert {record["session"] for record in found} == {0, 1}


def test_ctrl_c_keeps_what_was_measured(small: Path, running: subprocess.Popen[str]) -> None:
    folder = small / "run"
    running.send_signal(signal.SIGINT)
    outcome = finish(running)
    assert outcome.code == 130, outcome
    assert "Traceback" not in outcome.err
    assert "--resume --out run" in outcome.err
    assert outcome.out.splitlines()[-1] == "run/report.md"
    kept = _lines(folder)
    assert 3 <= len(kept) < CASES
    assert "Partial report" in (folder / "report.md").read_text(encoding="utf-8")

    resumed = call("run", "long.toml", "--resume", "--out", "run", "-q")
    assert (resumed.code, resumed.err) == (0, "")
    assert _lines(folder)[: len(kept)] == kept
    _require_complete(folder)
    assert "Partial report" not in (folder / "report.md").read_text(encoding="utf-8")


def test_a_limit_of_time_ends_a_run_with_its_report(small: Path) -> None:
    clock = iter(range(10**6))  # a second passes whenever somebody looks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surroundings, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        outcome = call("run", "long.toml", "--out", "run", "--max-minutes", "0.1")
    assert outcome.code == 0
    kept = _lines(small / "run")
    assert len(kept) == 5  # at the sixth look six seconds have passed
    assert f"0.1 minutes are over; {CASES - 5} cases are missing" in outcome.err
    assert "--resume --out run" in outcome.err
    assert "Partial report" in (small / "run" / "report.md").read_text(encoding="utf-8")

    whole = call("run", "long.toml", "--out", "run", "--resume", "--max-minutes", "60", "-q")
    assert (whole.code, whole.err) == (0, "")
    _require_complete(small / "run")


def test_a_limit_of_time_leaves_no_workload_of_a_profile_half_recorded(cwd: Path) -> None:
    words = [
        *("--subject", "operation", "--d", "4", "8", "--batch", "1", "--method", "eigh"),
        *("--dtype", "float32", "--rounds", "1", "--no-trace", "--out", "run", "-q"),
    ]
    outcome = call("profile", *words, "--max-minutes", "1e-9")
    assert (outcome.code, _lines(cwd / "run")) == (0, [])
    looks = iter([0.0, 1.0])  # when the limit is set, and before the first workload

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            surroundings, "time", SimpleNamespace(monotonic=lambda: next(looks, math.inf))
        )
        assert call("profile", *words, "--resume", "--max-minutes", "1").code == 0
    found = [record["case"] for record in records(cwd / "run")]
    assert [(case["d"], case["method"]) for case in found] == [
        (4, "torch.linalg.eigh"),
        (4, "eigh"),
    ]


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "soon"])
def test_a_limit_that_is_none_is_refused(small: Path, limit: str) -> None:
    complaint = call("run", "small.toml", "--max-minutes", limit).complaint
    assert complaint.startswith(f"eigbench: --max-minutes: {limit!r}")


def test_a_kill_loses_no_more_than_the_case_in_flight(
    small: Path, running: subprocess.Popen[str]
) -> None:
    folder = small / "run"
    running.kill()
    running.wait()
    kept = [line for line in _lines(folder) if line.endswith(b"\n")]
    assert 3 <= len(kept) < CASES
    # The report can be had as it is, and is partial.
    assert call("report", "run", "-q").code == 0
    assert "Partial report" in (folder / "report.md").read_text(encoding="utf-8")

    assert call("run", "long.toml", "--resume", "--out", "run", "-q").code == 0
    assert _lines(folder)[: len(kept)] == kept
    _require_complete(folder)


def test_two_runs_in_one_folder_are_refused(small: Path, running: subprocess.Popen[str]) -> None:
    for words in (["--resume"], []):
        outcome = call("run", "long.toml", "--out", "run", *words)
        assert outcome.code == 2
        assert outcome.out == ""
        assert "run" in outcome.err.splitlines()[-1]
    assert running.poll() is None
    outcome = finish(running)
    assert outcome.code == 0
    assert len(records(small / "run")) == CASES


# Refused folders


def _refused(folder: Path, *words: str) -> str:
    before = contents(folder)
    outcome = call(*words)
    assert outcome.code == 2, outcome
    assert contents(folder) == before
    # One line, and not the one that says what is going to be measured.
    return outcome.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["small.toml"], "run holds a run already; add --resume, or choose another --out"),
        (["other.toml", "--resume"], "run holds a run of another suite"),
        (["small.toml", "--seeds", "3", "--resume"], "run holds a run of another suite"),
    ],
)
def test_a_run_that_is_there_is_not_mixed_up(small: Path, words: list[str], said: str) -> None:
    assert call("run", "small.toml", "--out", "run", "-q").code == 0
    assert said in _refused(small, "run", *words, "--out", "run")


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "folder/"])
def test_a_foreign_folder_is_refused(small: Path, name: str) -> None:
    (small / "run" / name).parent.mkdir(parents=True)
    (small / "run" / name).mkdir() if name == "folder/" else (small / "run" / name).touch()
    complaint = _refused(small, "run", "small.toml", "--out", "run")
    assert "run is not empty; --out takes a new or empty folder" in complaint


@pytest.mark.parametrize("words", [[], ["--out", "empty"], ["--out", "absent"]])
def test_resume_needs_a_run(small: Path, words: list[str]) -> None:
    (small / "empty").mkdir()
    complaint = _refused(small, "run", "small.toml", "--resume", *words)
    assert "--resume: " in complaint
    assert (
        f"{words[-1]} holds no run" in complaint if words else "no run of this suite" in complaint
    )


@pytest.mark.parametrize("leftover", [".suite.toml.7-8.part", ".environment.json.7-8.part"])
def test_a_start_that_was_killed_can_be_repeated(small: Path, leftover: str) -> None:
    """A file is written beside its place first; a kill may leave that part behind."""
    (small / "run").mkdir()
    (small / "run" / ".lock").touch()
    (small / "run" / leftover).write_bytes(b"name = ")
    words = ["run", "small.toml", "--out", "run", "-q"]
    if leftover.startswith(".environment"):
        assert call("run", "small.toml", "--out", "whole", "-q").code == 0
        suite = (small / "whole" / "suite.toml").read_bytes()
        (small / "run" / "suite.toml").write_bytes(suite)
        words.append("--resume")
    outcome = call(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(records(small / "run")) == 2
    assert not (small / "run" / leftover).exists()


# Resuming without a name


def test_resume_goes_on_with_the_newest_run_of_the_suite(small: Path) -> None:
    assert call("run", "small.toml", "--out", "reports/small-2020-01-01T00-00-00", "-q").code == 0
    assert call("run", "small.toml", "--out", "reports/small-2021-01-01T00-00-00", "-q").code == 0
    assert call("run", "other.toml", "--out", "reports/small-2022-01-01T00-00-00", "-q").code == 0
    older, newer, other = sorted((small / "reports").iterdir())
    for folder in (older, newer, other):
        path = folder / "records.jsonl"
        path.write_bytes(path.read_bytes()[:-10])
    before = contents(older), contents(other)
    outcome = call("run", "small.toml", "--resume", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "reports/small-2021-01-01T00-00-00/report.md\n"
    assert len(records(newer)) == 2
    assert (contents(older), contents(other)) == before


def test_resume_of_a_dated_run(small: Path) -> None:
    begun = call("run", "small.toml", "-q").out
    outcome = call("run", "small.toml", "-q", "--resume")
    assert outcome.code == 0
    assert outcome.out == begun
    assert len(list((small / "reports").iterdir())) == 1


def test_a_corrupt_line_in_the_middle_is_refused_with_its_number(small: Path) -> None:
    assert call("run", "small.toml", "--out", "run", "-q").code == 0
    path = small / "run" / "records.jsonl"
    first, second = _lines(small / "run")
    path.write_bytes(first + second[:40] + b"\n" + second)
    for words in (["run", "small.toml", "--out", "run", "--resume"], ["report", "run"]):
        complaint = _refused(small, *words)
        assert "records.jsonl, line 2" in complaint


def test_a_finished_run_is_not_measured_again(small: Path) -> None:
    assert call("run", "small.toml", "--out", "run", "-q").code == 0
    before = _lines(small / "run")
    assert call("run", "small.toml", "--out", "run", "--resume", "-q").code == 0
    assert _lines(small / "run") == before


def test_a_run_of_another_version_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("run", "small.toml", "--out", "run", "-q").code == 0
    monkeypatch.setattr("eigbench.runs.store.__version__", "99.0")
    before = contents(small)
    outcome = call("run", "small.toml", "--out", "run", "--resume")
    assert outcome.code == 2
    assert "99.0" in outcome.err
    assert contents(small) == before
