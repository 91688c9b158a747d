"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def undrawn(undrawn: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And reports without a folder of their own put them into a temporary one."""
    monkeypatch.chdir(tmp_path)
