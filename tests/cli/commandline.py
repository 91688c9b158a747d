"""The command line as tests call it: in this process, or in one of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import eigbench
from eigbench.cli.app import invoke

ROOT = Path(eigbench.__file__).parents[1]

SMALL = """
name = "small"
kind = "stability"
seeds = 2

[axes]
method = ["eigh", "hybrid"]
d = [4]
spectrum = ["gap"]
gap = [0.1]
scale = [1.0]
dtype = ["float32"]
epsilon = [1e-4]
iterations = [3]
loss = ["whitening"]
start = [0]

[[grids]]
"""
"""Two cases, of which each takes some milliseconds."""

NARROW = (
    *("--d", "4", "--gap", "0.1", "--seeds", "2", "--spectrum", "gap", "--loss", "whitening"),
    *("--eps", "1e-4", "--matrix-scale", "1", "--dtype", "float32", "--iterations", "3"),
)
"""Options that leave little of the suite `stability`."""


@dataclass(frozen=True)
class Outcome:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of an error; fails if it is not one line, or not one that is ours."""
        assert self.code == 2, self
        assert self.out == "", self
        assert self.err.endswith("\n"), self
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        assert lines[0].startswith("eigbench: "), self
        assert "Traceback" not in self.err, self
        return lines[0]


def call(*words: str) -> Outcome:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = invoke(words)
    return Outcome(code, out.getvalue(), err.getvalue())


def start(
    *words: str,
    cwd: Path,
    stderr: int | IO[Any] = subprocess.PIPE,
    python: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command line in a process of its own, which Ctrl-C interrupts."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As a shell starts programs in the background; a child would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.Popen(
        [sys.executable, *python, "-m", "eigbench", *words],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait until it ends."""
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def call_apart(*words: str, cwd: Path, python: tuple[str, ...] = ()) -> Outcome:
    """Run a command line in a process of its own."""
    return finish(start(*words, cwd=cwd, python=python))


def records(folder: Path) -> list[dict[str, Any]]:
    """The whole records of a run as JSON has them; none where there is no file yet."""
    path = folder / "records.jsonl"
    *lines, _ = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    return [json.loads(line) for line in lines]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, but for the lock, which holds nothing."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }
