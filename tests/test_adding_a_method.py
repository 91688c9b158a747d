"""To add a method is to write one file: every table and picture of a report has it by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from eigbench.methods import registry
from tests import test_docs
from tests.cli.commandline import ROOT, call

FILE = ROOT / "docs/example-method/src/eigbench_soft_gap/__init__.py"
ADDED = "soft-gap"
SUITE = """
name = "added"
kind = "stability"
seeds = 2

[axes]
method = ["svd", "hybrid", "spectral", "soft-gap"]
d = [4, 8]
spectrum = ["gap"]
gap = [0.1, 1e-4, 0.0]
scale = [1.0]
dtype = ["float32"]
epsilon = [1e-4]
iterations = [19]
loss = ["whitening"]
start = [0]

[profiling]
rounds = 8

[[grids]]
loss = ["whitening", "subspace"]

[[grids]]
d = [8]
gap = [0.1]
scale = [1e-5, 1.0, 1e5]
epsilon = [0.0]

[[grids]]
d = [2]
gap = [0.9, 0.1, 1e-2]
dtype = ["float64"]
loss = ["closing-eigenvector"]
epsilon = [0.0]

[[grids]]
kind = "path"
d = [8]

[[grids]]
kind = "invariance"
d = [8]
gap = [1e-4]

[[grids]]
kind = "profile"
subject = ["whitening"]
compiled = [false]
d = [8, 16, 32]
batch = [1]
"""
PAPERS_OWN = {
    "situations",  # the opening: the paper's methods and the exact gradient
    "error-by-iterations", "figure-1", "spectra",  # the series, and no method at all
    "right-by-situation",  # its rows are tick labels, looked for in the tables
}  # fmt: skip


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The words of every picture, by its name."""
    seen: dict[str, set[str]] = {}

    def look(figure: Figure, path: Path) -> None:
        seen[path.stem] = {one.get_text() for one in figure.findobj(Text)} - {""}
        path.write_bytes(b"\x89PNG")

    # In this process, not in copies of it, which would keep to themselves what they saw.
    monkeypatch.setattr("eigbench.report.copies.MOST", 0)
    monkeypatch.setattr("eigbench.report.plots._draw", look)
    return seen


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The method is no longer there for the tests that follow."""
    yield
    registry._registered.pop(ADDED, None)


def tables(text: str) -> list[str]:
    """Every table of a report, outside the opening and the paper's claims."""
    kept, depth, claims = [], 0, False
    for line in text.split("## What to use")[1].splitlines():
        depth += line == "<details>"
        if depth == 1 and line.startswith("<summary>"):
            claims = "claims of the paper" in line
        if not (claims and depth):
            kept.append(line)
        depth -= line == "</details>"
    return [block for block in "\n".join(kept).split("\n\n") if block.startswith("|")]


def test_a_method_from_a_file_is_in_every_table_and_picture(
    tmp_path: Path, pictures: dict[str, set[str]]
) -> None:
    suite = tmp_path / "added.toml"
    suite.write_text(SUITE, encoding="utf-8")
    out = tmp_path / "out"
    done = call("run", str(suite), "--plugin", str(FILE), "--out", str(out), "--no-progress")
    assert done.code == 0, done
    text = (out / "report.md").read_text("utf-8")
    of_methods = [one for one in tables(text) if all(m in one for m in ("svd", "hybrid"))]
    assert len(of_methods) > 10
    for one in of_methods:
        assert ADDED in one, one
    assert ADDED in (out / "report.html").read_text("utf-8")
    drawn = {name: words for name, words in pictures.items() if name not in PAPERS_OWN}
    assert {"error-by-gap", "right-by-class", "through-a-crossing"} <= set(drawn)
    for name, words in drawn.items():
        assert any(ADDED in word for word in words), (name, words)


def test_the_table_of_methods_follows_from_what_a_method_declares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = call("methods", "--plugin", str(FILE))
    assert outcome.code == 0, outcome
    assert ADDED in outcome.out
    monkeypatch.setattr(registry, "built_in", lambda: (*registry.available(),))
    row = next(line for line in test_docs._methods().splitlines() if f"`{ADDED}`" in line)
    assert "gaps softened by a relative width" in row
    assert "finite, scale" in row
    assert "`eta=0.001`" in row
