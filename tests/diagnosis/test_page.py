"""What the page for the mystified reader shows is what happens, and its cures are right."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eigbench.diagnosis import bench, census, questions, sees, trials, truth
from tests.cli.commandline import ROOT, call

PAGE = (ROOT / "docs" / "diagnosing.md").read_text("utf-8")
STORIES = dict(re.findall(r"^### (\d)\. (.*?)(?=^##|\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))
Array = NDArray[np.float64]


def told(story: str, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
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
    return names


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


def by_differences(loss: Callable[[Array], float], at: torch.Tensor, step: float) -> Array:
    """∂L/∂x by central differences, in float64."""
    x = at.detach().double().numpy()
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        change = np.zeros_like(x)
        change[index] = step
        gradient[index] = (loss(x + change) - loss(x - change)) / (2 * step)
    return gradient


def assert_right(found: torch.Tensor | None, exact: Array) -> None:
    """Finite, and right to 1 %."""
    assert found is not None
    error = np.linalg.norm(found.double().numpy() - exact) / np.linalg.norm(exact)
    assert error < 1e-2


def inverse_root(M: Array) -> Array:
    """M^(−1/2)."""
    values, V = np.linalg.eigh(M)
    root: Array = (V * values**-0.5) @ V.T
    return root


def covariance(x: Array) -> Array:
    """`(n, n)` of the rows of x, by their number."""
    centred = x - x.mean(0)
    product: Array = centred.T @ centred / len(x)
    return product


def dead_channels(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """The gradient through the layer, of features whose first channels are dead."""
    torch.manual_seed(1)
    x = torch.randn(16, 8).relu()
    x[:, :3] = 0
    x.requires_grad_()
    weights = torch.randn(16, 8)
    (names["WhitenDirectly"]()(x) * weights).sum().backward()

    def loss(x: Array) -> float:
        white = (x - x.mean(0)) @ inverse_root(covariance(x) + 1e-4 * np.eye(8))
        return float((white * weights.numpy()).sum())

    return x.grad, by_differences(loss, x, 1e-6)


def few_samples(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """The gradient of a row of M^(−1/2), with the page's ε."""

    def loss(x: Array) -> float:
        return float(inverse_root(covariance(x) * 20 / 19 + 8e-4 * np.eye(48))[0].sum())

    return names["x"].grad, by_differences(loss, names["x"], 1e-5)


def normal(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """The gradient of what the normal shows to the light."""
    light = names["light"].double().numpy()

    def loss(points: Array) -> float:
        return 1 - float(np.linalg.eigh(points.T @ points / len(points))[1][:, 0] @ light) ** 2

    return names["points"].grad, by_differences(loss, names["points"], 1e-5)


def rotation(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """By hand: at 8·I the polar factor moves by (dM − dMᵀ)/16."""
    by_factor = 2 * (np.eye(3) - names["wanted"].double().numpy())
    by_matrix = (by_factor - by_factor.T) / 16
    return names["predicted"].grad, names["corners"].double().numpy() @ by_matrix.T


def centred(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """The gradient of a row of M^(−1/2) of the covariance."""
    loss = lambda x: float(inverse_root(covariance(x))[0].sum())  # noqa: E731
    return names["x"].grad, by_differences(loss, names["x"], 1e-5)


def narrow_gap(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """By hand: dv = Σ vj (vjᵀ dM v)/(λ − λj), of this M."""
    values, V = np.linalg.eigh(names["M"].detach().double().numpy())
    along = V.T @ names["weights"].double().numpy()
    half = along[0] * np.outer(V[:, 1:] @ (along[1:] / (values[0] - values[1:])), V[:, 0])
    return names["M"].grad, half + half.T


def both_vectors(names: dict[str, Any]) -> tuple[torch.Tensor | None, Array]:
    """The gradient of wᵀPw, P the projector on two vectors."""
    w = names["weights"].double().numpy()

    def loss(M: Array) -> float:
        V = np.linalg.eigh((M + M.T) / 2)[1][:, 1:3]
        return float(((w @ V) ** 2).sum())

    return names["ring"].grad, by_differences(loss, names["ring"], 1e-5)


TRUTHS = {
    "1": dead_channels,
    "2": few_samples,
    "3": normal,
    "4": rotation,
    "5": centred,
    "6": narrow_gap,
    "7": both_vectors,
}


@pytest.mark.parametrize("number", sorted(STORIES))
def test_a_story_runs_as_it_is_told_and_its_cure_is_right(
    number: str, cwd: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_right(*TRUTHS[number](told(STORIES[number], caplog)))


def test_what_is_told_is_what_was_printed() -> None:
    assert_shown("a b\n…\nd 1.0e-05", "a\nb\nc\nd 2.0e-06 e")
    for block in ("a c", "b\n…\na"):
        with pytest.raises(AssertionError):
            assert_shown(block, "a b c")


def test_a_generalised_problem_becomes_an_ordinary_one() -> None:
    (block,) = re.findall(r"```python\n(L = .*?)```", PAGE, flags=re.DOTALL)
    generator = torch.Generator().manual_seed(0)
    A, X = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    names: dict[str, Any] = {"torch": torch, "A": A + A.T, "B": X @ X.T + torch.eye(4)}
    exec(block, names)  # noqa: S102
    values, Y = torch.linalg.eigh(names["C"])
    V = torch.linalg.solve_triangular(names["L"].mH, Y, upper=True)
    assert torch.allclose(names["A"] @ V, names["B"] @ V * values)


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    page = " ".join(PAGE.split())
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


def test_its_links_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "(docs/diagnosing.md)" in readme
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists()
