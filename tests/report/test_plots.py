"""Figures: colours that can be told apart, labelled axes, a place for a gap of 0."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.report import figures, write_report
from eigbench.report.plots import STYLES, gap_axis, style
from tests.report.test_golden import GOLDEN

# Machado, Oliveira and Fernandes (2009), full deuteranopia and protanopia, on linear RGB.
DEFICIENCIES = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


@pytest.mark.parametrize("name", DEFICIENCIES)
def test_colours_differ_for_colour_blind_readers(name: str) -> None:
    def seen(colour: str) -> list[float]:
        linear = [channel**2.2 for channel in colors.to_rgb(colour)]
        return [
            max(0.0, sum(a * b for a, b in zip(line, linear, strict=True))) ** (1 / 2.2)
            for line in DEFICIENCIES[name]
        ]

    for one, other in itertools.combinations(STYLES.values(), 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen(one[0]), seen(other[0]), strict=True))
        assert distance**0.5 > 0.1, (one, other)


def test_methods_differ_in_marker_too() -> None:
    assert len({look[1] for look in STYLES.values()}) == len(STYLES)
    assert style("somebody's-own")["marker"]


def test_a_gap_of_zero_has_its_place_beyond_the_smallest() -> None:
    _, axes = plt.subplots()
    places = gap_axis(axes, [0.1, 1e-4, 0.0])
    assert places[0.1] == 0.1
    assert 0 < places[0.0] < 1e-4
    assert axes.get_xticklabels()[-1].get_text() == "0"
    left, right = axes.get_xlim()
    assert left > right
    plt.close()


def test_every_axis_of_every_figure_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(figure: Figure, _folder: Path, name: str) -> str:
        for axes in figure.axes:
            if axes.get_visible():
                seen.append(name)
                assert axes.get_xlabel() or axes.get_label() == "<colorbar>", name
                assert axes.get_ylabel(), name
        plt.close(figure)
        return name

    for name in ("suite.toml", "environment.json", "records.jsonl"):
        (tmp_path / name).write_bytes((GOLDEN / "run" / name).read_bytes())
    monkeypatch.setattr(figures, "save", look)
    monkeypatch.setattr("eigbench.report.series.save", look)
    write_report(tmp_path)
    assert {"error-by-gap", "norm-by-gap", "success", "figure-1"} <= set(seen)
