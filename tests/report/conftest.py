"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For tests of the text: figures are made and not drawn, which takes most of the time.

    Reports without a folder of their own put them into a temporary one.
    """
    monkeypatch.chdir(tmp_path)

    def stand_in(_figure: Figure, picture: BinaryIO, **_options: Any) -> None:
        picture.write(b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", stand_in)
