"""Wrong input: exit code 2, one line that says what is wrong and what would be right, no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.commandline import NARROW, SMALL, Outcome, call, call_apart, contents

WHOLE = "whole numbers from 1"
LOSSES = (
    "whitening, whitening-truncated, square-root, logarithm, subspace, reconstruction, "
    "eigenvector, closing-eigenvector"
)
METHODS = "eigh, svd, pi, hybrid, hybrid-loop"
SPECTRA = "gap, cluster, geometric, rank-deficient, laplacian, identity, cifar-patches, cifar-conv"

WRONG_VALUES = [
    # words, and what the line must name: the option, the value, what is accepted
    (["--d", "x"], ["--d", "'x'", WHOLE]),
    (["--d", "-3"], ["--d", "'-3'", WHOLE]),
    (["--d", "4097"], ["--d", "'4097'", "4096"]),
    (["--d", "4", "8", "x"], ["--d", "'x'", WHOLE]),
    (["--d=4,x"], ["--d", "'x'", WHOLE]),
    (["--d"], ["--d", "at least one value", WHOLE]),
    (["--d", "--gap", "0.1"], ["--d", "at least one value", WHOLE]),
    (["--d="], ["--d", "at least one value", WHOLE]),
    (["--d", ","], ["--d", "at least one value", WHOLE]),
    (["--d", "4", "--d"], ["--d", "at least one value", WHOLE]),
    (["--gap", "-inf"], ["--gap", "'-inf'", "0 ≤ g < 1"]),
    (["--eps", "-1e-9"], ["--eps", "'-1e-9'", "from 0"]),
    (["--matrix-scale", "nan"], ["--matrix-scale", "'nan'", "above 0"]),
    (["--method", "EIGH"], ["--method", "'EIGH'", METHODS]),
    (["--loss", "nope"], ["--loss", "'nope'", LOSSES]),
    (["--spectrum", "file"], ["--spectrum", "'file'", SPECTRA]),
    (["--seeds", "0"], ["--seeds", "0", WHOLE]),
    (["--seeds", ""], ["--seeds", "''", WHOLE]),
    (["--device", "cuda:-1"], ["--device", "'cuda:-1'", "cpu, cuda, cuda:N", "auto"]),
]


def _refused(cwd: Path, *words: str) -> str:
    """The complaint about a command line, which must leave the working directory as it was."""
    before = contents(cwd)
    complaint = call(*words).complaint
    assert contents(cwd) == before
    return complaint


@pytest.mark.parametrize(("words", "named"), WRONG_VALUES, ids=" ".join)
def test_wrong_values(cwd: Path, words: list[str], named: list[str]) -> None:
    complaint = _refused(cwd, "stability", *words)
    for part in named:
        assert part in complaint


@pytest.mark.parametrize("command", [["stability"], ["run", "stability"], ["env"]])
def test_a_device_that_is_not_there(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    complaint = _refused(cwd, *command, "--device", "cuda:7")
    for part in ("--device", "'cuda:7'", "cpu"):
        assert part in complaint


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["stability", "--nope"], "--nope"),
        (["stability", "-x"], "-x"),
        (["stability", "--d", "4", "--nope=3"], "--nope"),
        (["stability", "word"], "word"),
        (["stability", "--seeds"], "--seeds"),
        (["stability", "--out"], "--out"),
        (["stability", "--quiet=1"], "--quiet"),
        (["run"], "SUITE"),
        (["run", "stability", "paper-table1"], "paper-table1"),
        (["run", "stability", "--d", "4"], "--d"),
        (["report"], "FOLDER"),
        (["env", "--nope"], "--nope"),
        (["methods", "word"], "word"),
        (["nope"], "nope"),
        ([""], "command"),
        (["--nope"], "--nope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_words(cwd: Path, words: list[str], named: str) -> None:
    complaint = _refused(cwd, *words)
    assert named in complaint
    assert "--help" in complaint


def test_nothing_at_all_shows_the_help(cwd: Path) -> None:
    outcome = call()
    assert (outcome.code, outcome.err) == (2, "")
    assert "Usage: eigbench" in outcome.out


def test_in_a_process_of_its_own(cwd: Path) -> None:
    assert "'x'" in call_apart("stability", "--d", "4", "x", cwd=cwd).complaint
    assert list(cwd.iterdir()) == []


# Suites


@pytest.mark.parametrize("name", ["nope", "nope.toml", "", ".", "stability.toml/x", "Stability"])
def test_unknown_suite(cwd: Path, name: str) -> None:
    complaint = _refused(cwd, "run", name)
    assert repr(name) in complaint
    assert "stability, survival, train-short, train-stress" in complaint


def _changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


SERIES = """
name = "series"
kind = "series"
{threshold}

[[grids]]
kind = "series"
ratio = [0.5]
dtype = ["float32"]
"""

WRONG_SUITES = {
    # text, and what the line must name beside the file
    "empty": ("", ["name"]),
    "broken": ('name = "small', []),
    "no TOML": ("\x00\x01", []),
    "unknown key": (_changed("seeds = 2", "sedes = 2"), ["sedes"]),
    "unknown axis": (_changed("gap = [0.1]", "gaps = [0.1]"), ["gaps"]),
    "wrong type": (_changed("seeds = 2", 'seeds = "two"'), ["seeds", "int"]),
    "no list": (_changed("d = [4]", "d = 4"), ["axes.d", "array"]),
    "wrong kind": (_changed('kind = "stability"', 'kind = "speed"'), ["kind", "speed"]),
    "wrong value": (_changed("d = [4]", "d = [0]"), ["axes.d", "0", WHOLE]),
    "wrong value of a grid": (SMALL + "gap = [0.1, 1.0]\n", ["grids[0].gap", "1.0", "0 ≤ g < 1"]),
    "not a number": (_changed("gap = [0.1]", "gap = [nan]"), ["axes.gap", "nan", "0 ≤ g < 1"]),
    "unknown method": (_changed('"eigh"', '"nope"'), ["axes.method", "'nope'", METHODS]),
    "empty axis": (_changed("d = [4]", "d = []"), ["axes.d", "empty"]),
    "missing axis": (_changed("d = [4]\n", ""), ["grids[0]", "d"]),
    "missing ratio": (SMALL + 'kind = "series"\n', ["grids[0]", "ratio"]),
    "no seeds": (_changed("seeds = 2", "seeds = 0"), ["seeds"]),
    "unknown device": (_changed("seeds = 2", 'device = "tpu"'), ["device", "'tpu'", "cpu"]),
    "threshold 0": (SERIES.format(threshold="threshold = 0.0"), ["threshold"]),
    "nothing to do": (SMALL.replace("[[grids]]", ""), ["grids"]),
    "narrow names no axis": (SMALL + 'narrow = ["nope"]\n', ["narrow", "nope"]),
    "a name that leaves the folder": (_changed('"small"', '"../small"'), ["name", "../small"]),
    "very deep": ("a = " + "[" * 20_000, []),
    "matrices of no size": (
        SMALL + '[matrices]\nfile = "m.npy"\nsha256 = "0"\ncount = { x = 1 }\n',
        ["matrices", "x"],
    ),
}


@pytest.mark.parametrize("name", WRONG_SUITES)
def test_wrong_suites(cwd: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # A suite that is let through would be measured, some of them for ever.
    monkeypatch.setattr("eigbench.cli.run.execute", lambda *_, **__: None)
    text, named = WRONG_SUITES[name]
    (cwd / "my.toml").write_text(text, encoding="utf-8")
    complaint = _refused(cwd, "run", "my.toml")
    for part in ("my.toml", *named):
        assert part in complaint


def test_a_suite_that_is_not_text(cwd: Path) -> None:
    (cwd / "my.toml").write_bytes(b"\xff\xfe\x00")
    assert "my.toml" in _refused(cwd, "run", "my.toml")


def test_a_folder_that_is_called_like_a_suite(cwd: Path) -> None:
    (cwd / "my.toml").mkdir()
    assert "'my.toml'" in _refused(cwd, "run", "my.toml")


# Files and folders


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.npy", "cannot read absent.npy"),
        ("garbage.pt", "cannot read garbage.pt: not a valid .pt file"),
        ("folder.npy", "cannot read folder.npy"),
        ("mine.npy.gz", ".npy, .npz, .pt, .safetensors"),
        ("", ".npy, .npz, .pt, .safetensors"),
    ],
)
def test_matrices_that_cannot_be_read(cwd: Path, name: str, said: str) -> None:
    (cwd / "garbage.pt").write_bytes(b"garbage, and more of it " * 20)
    (cwd / "folder.npy").mkdir()
    assert said in _refused(cwd, "stability", "--matrices", name)


@pytest.mark.parametrize("option", [("--d", "4"), ("--spectrum", "gap"), ("--gap", "0.1")])
def test_matrices_decide_what_an_option_would(cwd: Path, option: tuple[str, str]) -> None:
    np.save(cwd / "mine.npy", np.eye(3))
    complaint = _refused(cwd, "stability", "--matrices", "mine.npy", *option)
    assert option[0] in complaint
    assert "--matrices" in complaint


@pytest.mark.parametrize("kind", ["absent", "empty", "foreign", "file"])
def test_report_on_a_folder_without_a_run(cwd: Path, kind: str) -> None:
    if kind == "file":
        (cwd / "here").write_text("text")
    elif kind != "absent":
        (cwd / "here").mkdir()
    if kind == "foreign":
        (cwd / "here" / "notes.txt").write_text("text")
    complaint = _refused(cwd, "report", "here")
    assert "here holds no run" in complaint
    assert "suite.toml" in complaint


def test_out_that_is_a_file(cwd: Path) -> None:
    (cwd / "here").write_text("text")
    assert "here is a file" in _refused(cwd, "stability", *NARROW, "--out", "here")


LONG = "a" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["stability", *NARROW, "--out", LONG],
        ["stability", *NARROW, "--resume", "--out", LONG],
        ["stability", *NARROW, "--out", "file/under-a-file"],
        ["run", f"{LONG}.toml"],
        ["report", LONG],
        ["stability", "--matrices", f"{LONG}.npy"],
    ],
    ids=["out", "resume", "out under a file", "suite", "report", "matrices"],
)
def test_names_that_the_system_refuses(cwd: Path, words: list[str]) -> None:
    (cwd / "file").write_text("text")
    before = contents(cwd)
    outcome = _outcome(words)
    assert words[-1][:100] in outcome.complaint
    assert contents(cwd) == before


def _outcome(words: list[str]) -> Outcome:
    """Like `call`; what it raises, the user would see as a traceback."""
    try:
        return call(*words)
    except Exception as error:  # noqa: BLE001
        pytest.fail(f"{type(error).__name__}: {str(error)[:100]}")


def test_a_file_where_the_runs_would_go(cwd: Path) -> None:
    (cwd / "reports").write_text("text")
    (cwd / "small.toml").write_text(SMALL)
    assert "reports" in _outcome(["run", "small.toml"]).complaint
    assert (cwd / "reports").read_text() == "text"


@pytest.mark.parametrize(
    "line",
    [
        ["stability", "--method", "{}"],
        ["stability", "{}"],
        ["stability", "--{}"],
        ["stability", "--matrices", "{}.npy"],
        ["report", "{}"],
        ["run", "{}"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_a_complaint_is_one_line_whatever_is_in_it(cwd: Path, line: list[str]) -> None:
    complaint = _refused(cwd, *(word.format("a\nb\r\u2028c\x0b\x1cd\x85e") for word in line))
    assert "Traceback" not in complaint
