"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text: figures are made and not drawn, which takes most of the time."""

    def stand_in(_figure: Figure, path: Path, **_options: Any) -> None:
        Path(path).write_bytes(b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", stand_in)
