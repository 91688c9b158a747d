"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.report.chapters import training_figures


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text: figures are made and not written, which takes most of the time."""

    def discard(figure: Figure, _folder: Path, name: str) -> str:
        plt.close(figure)
        return f"figures/{name}.png"

    monkeypatch.setattr(training_figures, "save", discard)
