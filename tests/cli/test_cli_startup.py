"""Help and wrong input answer at once: nothing slow is imported for them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from eigbench import __version__
from eigbench.cli.app import app
from tests.cli.commandline import ROOT, call_apart

COMMANDS = sorted(getattr(get_command(app), "commands", {}))


WRONG = [
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
]
HELP = [[command, flag][not command :] for command in ("", *COMMANDS) for flag in ("--help", "-h")]
CALLS = """
import json, sys
from tests.cli.commandline import call

for words in json.loads(sys.argv[1]):
    outcome = call(*words)
    slow = [name for name in ("torch", "matplotlib") if name in sys.modules]
    print(json.dumps([outcome.code, outcome.out, outcome.err, slow]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Any]:
    """Of lines that must import nothing slow: exit code, output, errors, and what slow they did.

    All in one process: what one of them imports is there for the next, too.
    """
    cwd = tmp_path_factory.mktemp("cwd")
    lines = [*HELP, ["--version"], *WRONG]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(lines)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(cwd.iterdir()) == []
    printed = map(json.loads, done.stdout.splitlines())
    return {tuple(words): found for words, found in zip(lines, printed, strict=True)}


def test_all_commands_are_known() -> None:
    assert COMMANDS == [
        "check", "compare", "diagnose", "env", "merge", "methods", "profile", "report", "run",
        "singular", "stability", "train", "validate",
    ]  # fmt: skip


def test_help_imports_nothing_slow(outcomes: dict[tuple[str, ...], Any]) -> None:
    for words in HELP:
        code, out, err, slow = outcomes[tuple(words)]
        assert (code, err, slow) == (0, "", []), words
        assert "Usage: eigbench" in out


def test_help_of_a_list_option_says_what_there_is(outcomes: dict[tuple[str, ...], Any]) -> None:
    shown = outcomes["stability", "-h"][1]
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown).split())
    for option in ("--d", "--gap", "--dtype", "--eps", "--method", "--iterations", "--spectrum"):
        assert re.search(rf"(?<!\S){option}(?!\S)", text), option
    assert "--d 4 8 16" in text


def test_version(outcomes: dict[tuple[str, ...], Any]) -> None:
    assert outcomes["--version",] == [0, f"eigbench {__version__}\n", "", []]


def test_wrong_input_imports_nothing_slow(outcomes: dict[tuple[str, ...], Any]) -> None:
    for words in WRONG:
        code, out, err, slow = outcomes[tuple(words)]
        assert (code, out, slow) == (2, "", []), words
        assert re.fullmatch(r"eigbench: .+\n", err), words


def test_the_command_itself_imports_nothing_slow(tmp_path: Path) -> None:
    outcome = call_apart("--help", cwd=tmp_path, python=("-X", "importtime"))
    lines = (line for line in outcome.err.splitlines() if line.startswith("import time:"))
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert {"eigbench", "typer"} <= imported  # that is, the trace was read
    assert not imported & {"torch", "matplotlib"}


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
