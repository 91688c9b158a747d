"""What the tests of profiles share."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.report.chapters import profile, traces


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pictures of a report without a folder of its own go into a temporary one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For tests of the text: figures are made and not written. Those that were."""
    made: list[str] = []

    def discard(figure: Figure, _folder: Path, name: str) -> str:
        for axes in figure.axes:
            assert axes.get_ylabel() or not axes.get_visible(), name
        assert any(axes.get_xlabel() for axes in figure.axes), name
        made.append(name)
        plt.close(figure)
        return f"figures/{name}.png"

    for module in (profile, traces):
        monkeypatch.setattr(module, "save", discard)
    return made
