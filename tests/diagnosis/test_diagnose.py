"""What is said of matrices, alone and in batches, and of what is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eigbench
from eigbench.diagnosis import findings, questions, sees
from eigbench.methods.registry import available
from eigbench.spectra import Floats
from tests.diagnosis.making import advised, finding, kinds, with_spectrum


def test_every_method_that_there_is_has_its_row() -> None:
    found = eigbench.diagnose(with_spectrum(1, 2, 3))
    assert tuple(found.measured[0].methods) == available()
    text = found.to_markdown()
    for name in available():
        assert re.search(rf"^(\| `{name}` |Not measured: .*`{name}`)", text, re.MULTILINE), name


def test_where_float64_is_in_doubt_mpmath_is_the_truth() -> None:
    found = eigbench.diagnose(with_spectrum(1, 1 + 1e-13, 2, 3))
    (measured,) = found.measured
    assert measured.digits == 50
    error = measured.answers["smallest-vector"].trials[0].attempts[0].error
    assert 1e-5 < error < 0.1  # a few of ε·‖M‖/gap = 7e-3


def test_nan_is_a_finding_with_its_place() -> None:
    M = with_spectrum(1, 2, 3)
    M[1, 2] = np.nan
    found = eigbench.diagnose(M)
    assert "1 of 9 entries" in finding(found, "not finite").text
    assert "row 1, column 2" in " ".join(finding(found, "not finite").text.split())
    assert found.measured == ()


def test_a_batch_of_all_kinds() -> None:
    batch = np.stack([np.diag([1.0, 2, 3 + i]) for i in range(7)])
    batch[0], batch[2], batch[3] = np.eye(3), np.inf, [[0, 1, 0]] * 3
    found = eigbench.diagnose(batch)
    assert finding(found, "not finite").text.startswith("`M[2]")
    assert finding(found, "not symmetric").text.startswith("`M[3]")
    assert "`M[0]`" in finding(found, "NaN").text
    labels = [one.label for one in found.facts]
    assert (labels[0], len(labels)) == ("M[0]", 4)
    assert "All 7 matrices were looked at" in " ".join(str(found).split())
    # Advice is right on every measured matrix: the identity has no leading vector.
    assert advised(found, "leading-vector") == ""
    assert advised(found, "inverse-square-root") == "spectral"


def test_an_error_is_the_largest_on_all_that_the_lines_were_executed_on() -> None:
    found = eigbench.diagnose(np.stack([with_spectrum(1, 2, 3), with_spectrum(1, 2, 2.001)]))
    one = next(one for one in found.recommendations if one.use == "leading-vector")
    trials = [a for m in found.measured for a in m.answers[one.use].trials if a.always_right]
    errors = [trial.largest_error for trial in trials if trial.cure.code == one.code]
    assert len(set(errors)) == 2
    assert one.error == max(errors)


def test_a_reason_or_lines_that_a_finding_shows_are_not_repeated() -> None:
    found = eigbench.diagnose(np.eye(2), {"eigenvectors": np.arange(4.0).reshape(2, 2)})
    assert found.findings[0].kind == "no_derivative"
    assert str(found).count("Your loss depends on that choice") == 1
    assert str(eigbench.diagnose(np.eye(3))).count('"inverse-square-root"') == 1


def test_a_hundred_thousand_matrices_are_looked_at_in_parts() -> None:
    batch = np.broadcast_to(np.diag([1.0, 2.0]), (100_000, 2, 2)).copy()
    batch[77_777] = np.eye(2)
    said: list[str] = []
    found = eigbench.diagnose(batch, say=said.append)
    assert found.facts[0].label == "M[77777]"
    assert any("%" in words for words in said)


_X = np.random.default_rng(0).standard_normal((6, 3))
EVERY_KIND: dict[str, tuple[Any, ...]] = {
    "not_finite": (np.full((2, 2), np.nan),),
    "asymmetric": (np.array([[1.0, 2.0], [0.0, 1.0]]),),
    "half": (torch.diag(torch.tensor([1.0, 2.0])).half(),),
    "out_of_range": (np.diag([1.0, 2.0]) * 1e200,),
    "upstream_not_finite": (np.diag([1.0, 2.0]), np.full((2, 2), np.inf)),
    "upstream_zero": (np.diag([1.0, 2.0]), np.zeros((2, 2))),
    "no_derivative": (np.eye(2), {"eigenvectors": np.arange(4.0).reshape(2, 2)}),
    "undetermined": (
        np.diag([1e-300, 2e-300]),
        {"eigenvectors": np.array([[0, 1e10], [-3e10, 1]])},
    ),
    "own_fails": (np.diag([1.0, 1.0, 2.0]), {"eigenvectors": np.diag([0.0, 0.0, 1.0])[::-1]}),
    "own_wrong": (
        with_spectrum(1, 1 + 1e-5, 2, 3).astype(np.float32),
        {"eigenvectors": np.arange(16.0).reshape(4, 4)},
    ),
    "own_right": (np.diag([1.0, 2.0]), {"eigenvalues": np.ones(2)}),
    "tie": (np.eye(2),),
    "finite_is_not_right": (np.eye(2),),
    "wrong": (with_spectrum(1, 1 + 1e-5, 2, 3).astype(np.float32),),
    "right": (np.diag([1.0, 2.0]),),
    "by_chance": (np.cov(np.random.default_rng(0).standard_normal((30, 3))),),
    "one_by_one": (np.ones((1, 1)),),
    "indefinite": (np.diag([-1.0, 2.0]),),
    "cancellation": ((_X + 3e4).astype(np.float32),),
    "singular": (np.diag([0.0, 2.0]),),
    "zero_under_root": (np.diag([0.0, 2.0]),),
    "ill_conditioned": (np.diag([1e-6, 2.0]).astype(np.float32),),
}
_X32 = EVERY_KIND["cancellation"][0]
EVERY_KIND["cancellation"] = (_X32.T @ _X32 / 6 - np.outer(_X32.mean(0), _X32.mean(0)),)
ELSEWHERE = {"saved", "raises", "singular"}
"""Of a file of `watch`; where torch raises; where torch does not fail at a zero."""


@pytest.mark.parametrize("kind", sorted(EVERY_KIND.keys() - ELSEWHERE))
def test_every_finding_has_its_words(kind: str) -> None:
    found = eigbench.diagnose(*EVERY_KIND[kind])
    assert kind in kinds(found), kinds(found)
    for one in found.findings:
        # A piece of a template that met nothing, or an empty value.
        prose = re.sub(r"```.*?```", "", f"{one.title} {one.text}", flags=re.DOTALL)
        assert not re.search(r"None|\bnan\b|[{}]|  |\(\)|: \.", prose), prose


def blocks(template: str) -> set[str]:
    """The names of the blocks of a template."""
    path = Path(findings.__file__).with_name("templates") / f"{template}.md.j2"
    return set(re.findall(r"{% block (\w+) %}", path.read_text("utf-8")))


def test_no_words_belong_to_no_finding() -> None:
    parts = {"measured", "paste", "rank", "cure_zeros", "values", "tied", "closest"}
    parts |= {"own_why", "own_outcome", "own_gradient"}
    assert findings.SEVERITY.keys() == EVERY_KIND.keys() | ELSEWHERE
    assert blocks("findings") == findings.SEVERITY.keys() | parts


def test_no_reason_is_without_words() -> None:
    source = Path(questions.__file__).read_text("utf-8")
    said = set(re.findall(r'(?:_no\([^,]+|chosen), "(\w+)"', source))
    assert len(said) > 5
    kinds_of_losses = set(get_args(sees.Kind))
    assert kinds_of_losses >= sees.EXISTS | sees.NO_DERIVATIVE
    said |= {f"seen_{kind}" for kind in kinds_of_losses - sees.EXISTS}
    assert said <= blocks("answers")


@st.composite
def matrices(draw: st.DrawFn) -> Floats:
    """Any finite symmetric matrix, of any scale, with ties and zeros."""
    n = draw(st.integers(1, 3))
    entries = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, 1.0, -1.0])
    )
    M = np.array(draw(st.lists(entries, min_size=n * n, max_size=n * n))).reshape(n, n)
    return np.triu(M) + np.triu(M, 1).T


@settings(max_examples=10, deadline=None)
@given(M=matrices())
def test_no_finite_symmetric_matrix_crashes_it(M: Floats) -> None:
    found = eigbench.diagnose(M)
    assert found.recommendations
    assert found.verdict in " ".join(str(found).split()) or not found.findings
