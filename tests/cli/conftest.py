"""What the tests of the command line share: runs in this process draw no figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commandline import SMALL


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    pass


@pytest.fixture
def small(cwd: Path) -> Path:
    """A working directory that holds a small suite."""
    (cwd / "small.toml").write_text(SMALL)
    return cwd
