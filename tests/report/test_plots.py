"""Figures: colours that can be told apart, labelled axes, a place for a gap of 0."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from eigbench.methods.registry import built_in
from eigbench.report import chapters, write_report
from eigbench.report.plots import OKABE_ITO, gap_axis, profile, style
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

    for one, other in itertools.combinations(OKABE_ITO, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True))
        assert distance**0.5 > 0.1, (one, other)


def test_no_two_methods_look_alike_and_none_declares_its_look() -> None:
    looks = [style(name) for name in (*built_in(), "somebodys-own", "pi, K = 100")]
    seen = {(look["color"], look["marker"], str(look["linestyle"])) for look in looks}
    assert len(seen) == len(looks)


def test_a_gap_of_zero_has_its_place_beyond_the_smallest() -> None:
    _, axes = plt.subplots()
    places = gap_axis(axes, [0.1, 1e-4, 0.0])
    assert places[0.1] == 0.1
    assert 0 < places[0.0] < 1e-4
    assert axes.get_xticklabels()[-1].get_text() == "0"
    left, right = axes.get_xlim()
    assert left > right
    plt.close()


def test_a_profile_ends_at_the_share_that_is_finite() -> None:
    _, axes = plt.subplots()
    profile(axes, np.array([1e-3, np.inf, 1e-5, 1e9]), 1e-8, 1e3)
    x, y = map(np.asarray, axes.lines[0].get_data())
    assert y[x <= 1e-4].max() == 25
    assert y.max() == 50
    plt.close()


def test_every_axis_of_every_figure_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(figure: Figure, _folder: Path, name: str) -> str:
        for axes in figure.axes:
            if axes.get_visible() and not axes.images:
                seen.append(name)
                spec = axes.get_subplotspec()
                bottom = spec is None or spec.is_last_row()
                first = spec is None or spec.is_first_col()
                assert axes.get_xlabel() or axes.get_label() == "<colorbar>" or not bottom, name
                assert axes.get_ylabel() or not first, name
        plt.close(figure)
        return name

    for name in ("suite.toml", "environment.json", "records.jsonl"):
        (tmp_path / name).write_bytes((GOLDEN / "run" / name).read_bytes())
    for module in ("stability", "accuracy", "properties", "claims"):
        monkeypatch.setattr(f"{chapters.__name__}.{module}.save", look)
    write_report(tmp_path)
    assert {"situations", "error-by-gap", "figure-1"} <= set(seen)
