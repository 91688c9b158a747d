"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For tests of the text: figures are made and not drawn, which takes most of the time.

    Reports without a folder of their own put them into a temporary one.
    """
    monkeypatch.chdir(tmp_path)

    def stand_in(_figure: Figure, path: Path, **_options: Any) -> None:
        Path(path).write_bytes(b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", stand_in)
