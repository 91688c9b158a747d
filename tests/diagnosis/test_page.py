"""What the page for the mystified reader shows is what happens."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from eigbench.diagnosis import bench, census, questions, sees, trials, truth
from tests.cli.commandline import ROOT, call

PAGE = (ROOT / "docs" / "diagnosing.md").read_text("utf-8")
LIMITS = (ROOT / "docs" / "diagnosing-limits.md").read_text("utf-8")
STORIES = dict(re.findall(r"^### (\d)\. (.*?)(?=^##|\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))


def told(story: str, caplog: pytest.LogCaptureFixture) -> None:
    """Run all of a story's blocks; each block of text must be what came out before it."""
    names: dict[str, Any] = {"__name__": "story"}
    said = ""
    for language, block in re.findall(r"```(\w+)\n(.*?)```", story, flags=re.DOTALL):
        if language == "text":
            assert_shown(block, said)
        elif language == "sh":
            said = call(*block.split()[1:]).out
        else:
            out = io.StringIO()
            caplog.clear()
            with redirect_stdout(out):
                exec(compile(block, "docs", "exec", dont_inherit=True), names)  # noqa: S102
            said = "\n".join([*caplog.messages, out.getvalue()])


def assert_shown(block: str, said: str) -> None:
    """The paragraphs of a block were printed in this order, all of them between two lines of …

    Figures of rounding errors differ from machine to machine, and are left out.
    """
    rest = _without_figures(said)
    for part in map(_without_figures, re.split(r"^…$", block, flags=re.MULTILINE)):
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]


def _without_figures(text: str) -> str:
    figure = r"\d+(\.\d+)?e[-−]\d+|\d+(\.\d+)? %|(?<=is )[-−]?\d+"
    return " ".join(re.sub(figure, "#", " ".join(text.split())).split())


@pytest.mark.parametrize("number", sorted(STORIES))
def test_a_story_runs_as_it_is_told(
    number: str, cwd: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told(STORIES[number], caplog)


def test_what_is_told_is_what_was_printed() -> None:
    assert_shown("a b\n…\nd 1.0e-05", "a\nb\nc\nd 2.0e-06 e")
    for block in ("a c", "b\n…\na"):
        with pytest.raises(AssertionError):
            assert_shown(block, "a b c")


def test_a_generalised_problem_becomes_an_ordinary_one() -> None:
    (block,) = re.findall(r"```python\n(L = .*?)```", LIMITS, flags=re.DOTALL)
    generator = torch.Generator().manual_seed(0)
    A, X = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    names: dict[str, Any] = {"torch": torch, "A": A + A.T, "B": X @ X.T + torch.eye(4)}
    exec(block, names)  # noqa: S102
    values, Y = torch.linalg.eigh(names["C"])
    V = torch.linalg.solve_triangular(names["L"].mH, Y, upper=True)
    assert torch.allclose(names["A"] @ V, names["B"] @ V * values)


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    page = " ".join(LIMITS.split())
    (first, most), *others = bench.COPIES
    copies = [f"{most} copies up to n = {first}", *(f"{most} up to {n}" for n, most in others)]
    assert ", ".join(copies) in page
    assert f"50 digits (and then on {bench.FEW_COPIES} copies)" in page
    assert f"up to n = {truth.LARGEST_IN_MPMATH}." in page
    assert f"Every method is measured up to n = {trials.EVERY_METHOD}," in page
    assert f"Above n = {questions.LARGE} only" in page
    assert f"below {sees.ROUNDING} units of rounding" in page
    assert (census.WORST, truth.DIGITS, sees.FITS) == (4, 50, 0.01)
    assert f"one if any is larger than {census.ALONE}." in page
