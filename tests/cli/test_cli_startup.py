"""Help and wrong input answer at once: nothing slow is imported for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

from eigbench import __version__
from eigbench.cli.app import app
from tests.cli.commandline import ROOT, call_apart

COMMANDS = sorted(getattr(get_command(app), "commands", {}))


def _imported(trace: str) -> set[str]:
    """The top-level modules in the output of `-X importtime`."""
    lines = (line for line in trace.splitlines() if line.startswith("import time:"))
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_all_commands_are_known() -> None:
    assert COMMANDS == [
        "check", "compare", "diagnose", "env", "merge", "methods", "profile", "report", "run",
        "stability", "train", "validate",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_imports_no_torch(command: str, flag: str, tmp_path: Path) -> None:
    outcome = call_apart(*filter(None, [command, flag]), cwd=tmp_path, python=("-X", "importtime"))
    assert outcome.code == 0
    assert "Usage: eigbench" in outcome.out
    imported = _imported(outcome.err)
    assert {"eigbench", "typer"} <= imported  # that is, the trace was read
    assert not imported & {"torch", "matplotlib"}
    assert list(tmp_path.iterdir()) == []


def test_help_of_a_list_option_says_what_there_is(tmp_path: Path) -> None:
    shown = call_apart("stability", "-h", cwd=tmp_path).out
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown).split())
    for option in ("--d", "--gap", "--dtype", "--eps", "--method", "--iterations", "--spectrum"):
        assert re.search(rf"(?<!\S){option}(?!\S)", text), option
    assert "--d 4 8 16" in text


def test_version(tmp_path: Path) -> None:
    outcome = call_apart("--version", cwd=tmp_path, python=("-X", "importtime"))
    assert (outcome.code, outcome.out) == (0, f"eigbench {__version__}\n")
    assert "torch" not in _imported(outcome.err)


@pytest.mark.parametrize(
    "line",
    [
        ["stability", "--d", "x"],
        ["stability", "--loss", "nonsense"],
        ["stability", "--method", "nonsense"],
        ["stability", "--spectrum", "nonsense"],
        ["stability", "--seeds", "0"],
        ["stability", "--device", "tpu"],
        ["run", "nonsense"],
        ["report", "nowhere"],
        ["compare", "nowhere", "nor here"],
        ["diagnose", "nowhere"],
        ["compare", "a", "b", "--threshold", "x"],
        ["nonsense"],
    ],
)
def test_wrong_input_imports_no_torch(line: list[str], tmp_path: Path) -> None:
    outcome = call_apart(*line, cwd=tmp_path, python=("-X", "importtime"))
    assert outcome.code == 2
    assert "torch" not in _imported(outcome.err)
    said = [text for text in outcome.err.splitlines() if not text.startswith("import time:")]
    assert len(said) == 1
    assert said[0].startswith("eigbench: ")


def _seconds(*arguments: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - before


@pytest.mark.speed
def test_help_takes_little_more_than_its_libraries() -> None:
    libraries = ("-c", "import filelock, msgspec, rich.console, rich.table, tomli_w, typer")
    help_text = ("-m", "eigbench", "stability", "--help")
    # In turn, and the best of each, so that a busy machine slows both.
    rounds = [(_seconds(*libraries), _seconds(*help_text)) for _ in range(4)]
    assert min(ours for _, ours in rounds) < 4 * min(theirs for theirs, _ in rounds)
