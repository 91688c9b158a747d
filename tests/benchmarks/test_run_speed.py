"""Whole commands: seconds from their start to the report, and the memory of a large report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eigbench.runs.environment import share_of_others, used
from tests.benchmarks.bars import IDLE

pytestmark = pytest.mark.speed

RUN = Path(__file__).parents[2] / "reports" / "stability"
DEFAULT = ("stability", "-q", "--d", "4", "8", "16", "32", "64")
GIBIBYTES = 1.0


def _others() -> float:
    """The share of the cores that other programs take for a second from now."""
    before = used()
    time.sleep(1)
    return share_of_others(before, used())


LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _require(limit: float, *arguments: str, foreseen: float = 0.0) -> float:
    """Fail if the command takes longer, on cores that are free but for a foreseen share.

    Others are looked at before and after: what the workers of a run take is nobody's.
    Returns the GiB of its largest process. A small process starts the command, since Linux counts
    the memory of the parent in the peak of what it starts.
    """
    before, began = _others(), time.perf_counter()
    command = (sys.executable, "-m", "eigbench", *arguments)
    launched = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], check=True, stdout=subprocess.PIPE
    )
    seconds = time.perf_counter() - began
    if seconds > limit and (others := max(before, _others())) > IDLE + foreseen:
        pytest.skip(f"{seconds:.1f} s > {limit} s, but others took {others:.0%} of the cores")
    assert seconds <= limit
    return int(launched.stdout) / 2**20


@contextmanager
def _busy_program() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# Measured on two cores: 26 to 29, 47 and 82 s (2,826 and 12,073 cases). The aims: 22, 60, 70.
def test_the_default_run(tmp_path: Path) -> None:
    _require(38, *DEFAULT, "--out", str(tmp_path / "run"))


def test_the_default_run_beside_a_busy_program(tmp_path: Path) -> None:
    with _busy_program():
        _require(85, *DEFAULT, "--out", str(tmp_path / "run"), foreseen=1 / (os.cpu_count() or 1))


def test_the_default_run_of_all_methods(tmp_path: Path) -> None:
    _require(110, *DEFAULT, "--method", "all", "--out", str(tmp_path / "run"))


def test_a_report_of_ten_thousand_cases(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder, ignore=shutil.ignore_patterns("figures", "report.*"))
    assert _require(10, "report", "-q", str(folder)) <= GIBIBYTES
