"""`eigbench compare`: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.commandline import Outcome, call, call_apart
from tests.compare.making import here, profile_suite, profiles, write

SUITE = profile_suite()


@pytest.fixture
def runs(cwd: Path) -> Path:
    """Runs `a`, its repetition `b`, and `slow`, in which the hybrid takes 1.3 times as long."""
    write(cwd / "a", SUITE, profiles(SUITE, 1))
    write(cwd / "b", SUITE, profiles(SUITE, 2), here(python="3.13.1"))
    slow = profiles(SUITE, 3, lambda case, _name: 1.3 if case.method == "hybrid" else 1.0)
    write(cwd / "slow", SUITE, slow)
    return cwd


def refused(*words: str) -> str:
    return call("compare", *words).complaint


def test_markdown_is_printed_and_names_the_environments(runs: Path) -> None:
    outcome = call("compare", "a", "b")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("# B compared with A\n")
    assert outcome.out.endswith("\n")
    assert "- python: 3 | 3.13.1" in outcome.out
    assert "**The environments differ** in python; see below." in outcome.out
    assert "**No regression**" in outcome.out


def test_a_slow_down_is_in_the_first_lines(runs: Path) -> None:
    out = call("compare", "a", "slow").out
    opening = out[: out.index("## Cases by verdict")]
    assert "**2 regressions** in 6 cases" in opening
    rows = [line for line in opening.splitlines() if line.startswith("| slower")]
    of_all_passes = [row for row in rows if "| time " in row]
    assert [row.split(" | ")[-1] for row in of_all_passes] == [
        "hybrid, d = 64 |",
        "hybrid, d = 16 |",
    ]
    assert len(rows) == 6  # of the forward pass and the backward as well


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a", "slow"], 0),
        (["a", "b", "--fail-on-regression"], 0),
        (["a", "slow", "--fail-on-regression"], 1),
        (["slow", "a", "--fail-on-regression"], 0),
        (["a", "slow", "--fail-on-regression", "--threshold", "0.5"], 0),
        (["a", "slow", "--fail-on-regression", "--threshold", "0.1"], 1),
        (["a", "slow", "--fail-on-regression", "--format", "json"], 1),
        (["--fail-on-regression", "a", "slow"], 1),
    ],
)
def test_exit_codes(runs: Path, words: list[str], code: int) -> None:
    outcome = call("compare", *words)
    assert (outcome.code, outcome.err) == (code, "")
    assert outcome.out


def test_a_failure_is_a_regression(runs: Path) -> None:
    lines = (runs / "a" / "records.jsonl").read_bytes().split(b"\n")
    last = json.loads(lines[-2])
    last |= {"status": "failed", "reason": "RuntimeError: no", "samples": {}}
    shutil.copytree(runs / "a", runs / "broken")
    (runs / "broken" / "records.jsonl").write_bytes(
        b"\n".join([*lines[:-2], json.dumps(last).encode(), b""])
    )
    outcome = call("compare", "a", "broken", "--fail-on-regression")
    assert outcome.code == 1
    assert "measured → failed; RuntimeError: no" in outcome.out


def test_json_is_json_alone(runs: Path) -> None:
    outcome = call("compare", "a", "slow", "--format", "json")
    read = json.loads(outcome.out)
    assert read["summary"]["regressions"] == 2
    assert read["summary"]["threshold"] == 0.05
    assert [case["verdict"] for case in read["cases"]].count("worse") == 2
    assert read["a"]["folder"] == "a"


def test_all_is_longer(runs: Path) -> None:
    short, full = call("compare", "a", "b").out, call("compare", "a", "b", "--all").out
    assert len(full) > len(short)


def test_a_partial_run_is_compared_and_said_to_be_partial(runs: Path) -> None:
    records = runs / "b" / "records.jsonl"
    records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:4]))
    outcome = call("compare", "a", "b")
    assert outcome.code == 0
    assert "**B is partial**: 4 of 6 cases" in " ".join(outcome.out.split())
    assert "## Only in A: 2" in outcome.out


@pytest.mark.parametrize("word", ["x", "nan", "-0.1", "101", "5%"])
def test_a_threshold_that_is_none(runs: Path, word: str) -> None:
    complaint = refused("a", "b", f"--threshold={word}")
    assert f"--threshold: {word!r} is not valid" in complaint
    assert "0.05" in complaint


@pytest.mark.parametrize("word", ["html", "JSON"])
def test_a_format_that_is_none(runs: Path, word: str) -> None:
    complaint = refused("a", "b", f"--format={word}")
    assert complaint == f"eigbench: --format: {word!r} is not valid; accepted: markdown, json"


@pytest.mark.parametrize(("words", "named"), [([], "A"), (["a"], "B"), (["a", "b", "c"], "c")])
def test_two_runs_are_compared(runs: Path, words: list[str], named: str) -> None:
    complaint = refused(*words)
    assert named in complaint
    assert "--help" in complaint


@pytest.mark.parametrize("words", [["a", "here"], ["here", "a"]])
def test_a_folder_without_a_run(runs: Path, words: list[str]) -> None:
    assert "here holds no run" in refused(*words)


def _imported(outcome: Outcome) -> set[str]:
    lines = (line for line in outcome.err.splitlines() if line.startswith("import time:"))
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_runs_are_compared_without_drawing(runs: Path) -> None:
    outcome = call_apart("compare", "a", "b", cwd=runs, python=("-X", "importtime"))
    assert outcome.code == 0
    imported = _imported(outcome)
    assert "scipy" in imported  # that is, the trace was read
    assert "matplotlib" not in imported


def test_wrong_input_is_refused_before_scipy(runs: Path) -> None:
    for words in (["a", "nowhere"], ["a", "b", "--threshold", "x"], ["a", "b", "--format", "x"]):
        outcome = call_apart("compare", *words, cwd=runs, python=("-X", "importtime"))
        assert outcome.code == 2
        assert not _imported(outcome) & {"torch", "scipy", "numpy"}
