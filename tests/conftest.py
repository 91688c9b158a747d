"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported here or in a process that a test starts: threads that wait for each
# other on busy cores make small matrices ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first example of a property may import torch, which no deadline should count. The same
# examples each time: a test that fails once in a hundred runs helps nobody.
settings.register_profile(
    "eigbench", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("eigbench")


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of reports are made and not drawn, nor in copies of the process.

    That takes most of the time.
    """
    from eigbench.runs.store import write_whole  # late: few tests need it

    def stand_in(_figure: object, path: Path) -> None:
        write_whole(path, b"\x89PNG")

    monkeypatch.setattr("eigbench.report.plots._draw", stand_in)
    monkeypatch.setattr("eigbench.report.copies.MOST", 0)
