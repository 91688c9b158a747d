"""Reports: seconds and memory of those of ten thousand cases."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eigbench.runs.environment import share_of_others, used
from tests.benchmarks.bars import IDLE

pytestmark = pytest.mark.speed

RUN = Path(__file__).parents[2] / "reports" / "stability"
SECONDS, GIBIBYTES = 10.0, 1.0


def test_a_report_of_ten_thousand_cases(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder, ignore=shutil.ignore_patterns("figures", "report.*"))
    before, began = used(), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "eigbench", "report", "-q", str(folder)])
    # Of this process alone: what `resource` says of children is the largest of all of them.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss / 2**20 <= GIBIBYTES
    if seconds > SECONDS and (others := share_of_others(before, used())) > IDLE:
        pytest.skip(f"{seconds:.1f} s > {SECONDS} s, but others took {others:.0%} of the cores")
    assert seconds <= SECONDS
