"""Reports: seconds and memory of those of ten thousand cases."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.bars import IDLE, share_of_others, used

pytestmark = pytest.mark.speed

RUN = Path(__file__).parents[2] / "reports" / "stability"
SECONDS, GIBIBYTES = 10.0, 1.0


def test_a_report_of_ten_thousand_cases(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder, ignore=shutil.ignore_patterns("figures", "report.*"))
    before, began = used(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "eigbench", "report", "-q", str(folder)], check=True)
    seconds = time.perf_counter() - began
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert largest <= GIBIBYTES
    if seconds > SECONDS and (others := share_of_others(before, used())) > IDLE:
        pytest.skip(f"{seconds:.1f} s > {SECONDS} s, but others took {others:.0%} of the cores")
    assert seconds <= SECONDS
