"""What is said of a matrix: of each kind that users have, the right thing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eigbench
from eigbench.diagnosis import findings
from eigbench.diagnosis.findings import Severity, severity_of_torch
from eigbench.diagnosis.trials import GradientOutcome
from eigbench.errors import InputError
from eigbench.methods.registry import available
from eigbench.spectra import Floats
from tests.diagnosis.making import advised, finding, severities, with_spectrum


def test_the_identity_is_nan_and_spectral_is_advised() -> None:
    found = eigbench.diagnose(torch.eye(4))
    assert found.findings[0].severity is Severity.FAILS
    assert "NaN" in found.verdict
    assert "λ[0] and λ[1] are equal" in found.findings[0].text
    assert "matrix_function" in found.findings[0].text
    assert advised(found, "whitening") == "spectral"
    assert advised(found, "eigenvector") == advised(found, "closing-eigenvector") == ""
    (measured,) = found.measured
    for precision in ("float32", "float64"):
        assert measured.attempt("eigh", "whitening", precision).outcome is GradientOutcome.NAN
        assert measured.attempt("spectral", "whitening", precision).outcome is GradientOutcome.RIGHT


def test_every_method_that_there_is_has_its_row() -> None:
    found = eigbench.diagnose(with_spectrum(1, 2, 3))
    assert found.measured[0].methods == available()


def test_a_well_separated_matrix_is_well() -> None:
    found = eigbench.diagnose(with_spectrum(1, 2, 3, 4))
    assert severities(found) == {Severity.WELL}
    assert advised(found, "eigenvector") == advised(found, "closing-eigenvector") == "eigh"
    assert advised(found, "whitening") == "spectral"
    assert found.facts[0].condition == pytest.approx(4)
    pair = found.facts[0].closest
    assert pair is not None
    assert pair.lower == 2
    assert pair.relative == pytest.approx(0.25)


def test_a_small_gap_is_finite_and_wrong_in_float32() -> None:
    found = eigbench.diagnose(with_spectrum(1, 1 + 1e-6, 2, 3, 4).astype(np.float32))
    wrong = finding(found, "finite but wrong")
    assert wrong.severity is Severity.WRONG
    assert "λ[0] and λ[1]" in wrong.text
    (measured,) = found.measured
    attempt = measured.attempt("eigh", "closing-eigenvector", "float32")
    assert attempt.outcome is GradientOutcome.WRONG
    # What was measured is within an order of what was estimated: ε·‖M‖/gap.
    use = next(use for use in measured.uses if use.name == "closing-eigenvector")
    assert 0.1 < attempt.error / use.estimate(measured.facts, "float32") < 10
    assert severity_of_torch(measured, "float64") is Severity.WELL
    assert advised(found, "whitening") == "spectral"
    advice = next(one for one in found.recommendations if one.use == "closing-eigenvector")
    assert advice.precision == "float64"
    assert "M.double()" in advice.code


def test_where_float64_is_in_doubt_mpmath_is_the_truth() -> None:
    found = eigbench.diagnose(with_spectrum(1, 1 + 1e-13, 2, 3))
    (measured,) = found.measured
    assert measured.arithmetic.startswith("mpmath")
    error = measured.attempt("eigh", "closing-eigenvector", "float64").error
    assert 1e-5 < error < 0.1  # a few of ε·‖M‖/gap = 7e-3
    assert measured.attempt("spectral", "whitening", "float64").error < 1e-14


def test_a_well_separated_vector_beside_a_tie_is_for_implicit() -> None:
    found = eigbench.diagnose(np.diag([1.0, 1.0, 1.0, 5.0]))
    assert advised(found, "eigenvector") == "implicit"
    assert advised(found, "subspace") == "spectral"
    assert (
        found.measured[0].attempt("eigh", "eigenvector", "float64").outcome is GradientOutcome.NAN
    )


def test_dead_channels_have_no_full_rank() -> None:
    M = np.diag([0.0, 0.0, 1.0, 2.0]).astype(np.float32)
    found = eigbench.diagnose(M)
    rank = finding(found, "full rank")
    assert "rank 2 of 4" in rank.text
    assert "2 eigenvalues are zero to rounding" in rank.text
    assert finding(found, "NaN").severity is Severity.FAILS
    assert found.facts[0].rank("float32") == found.facts[0].rank("float64") == 2


def test_a_covariance_of_few_samples_is_not_called_well() -> None:
    X = np.random.default_rng(0).standard_normal((3, 6))
    for dtype in (np.float32, np.float64):
        found = eigbench.diagnose((X.T @ X).astype(dtype))
        finding(found, "full rank")
        assert Severity.WELL not in severities(found)


def test_an_ill_conditioned_matrix_loses_its_smallest_eigenvalue() -> None:
    found = eigbench.diagnose(np.diag([1e-6, 1.0, 2.0]).astype(np.float32))
    assert "2.0e+06" in finding(found, "few digits").text


def test_not_symmetric_is_a_finding_and_the_symmetric_part_is_diagnosed() -> None:
    M = with_spectrum(1, 2, 3)
    M[0, 1] += 1
    found = eigbench.diagnose(M)
    assert finding(found, "not symmetric").severity is Severity.WRONG
    symmetric = eigbench.diagnose((M + M.T) / 2)
    assert np.allclose(found.facts[0].eigenvalues, symmetric.facts[0].eigenvalues, rtol=1e-14)


def test_nan_is_a_finding_with_its_place() -> None:
    M = with_spectrum(1, 2, 3)
    M[1, 2] = np.nan
    found = eigbench.diagnose(M)
    assert "1 of 9 entries" in finding(found, "not finite").text
    assert "row 1, column 2" in finding(found, "not finite").text
    assert found.measured == ()


def test_one_by_one() -> None:
    found = eigbench.diagnose(torch.tensor([[2.0]]))
    finding(found, "1×1")
    assert found.facts[0].closest is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_named(dtype: torch.dtype) -> None:
    found = eigbench.diagnose(torch.diag(torch.tensor([1.0, 2.0, 3.0])).to(dtype))
    name = str(dtype).removeprefix("torch.")
    assert name in finding(found, "few digits").title
    assert found.facts[0].dtype == name


def test_beyond_float32_is_named() -> None:
    for size in (1e200, 1e-200):
        found = eigbench.diagnose(np.diag([1.0, 2.0]) * size)
        assert finding(found, "does not fit into float32").severity is Severity.FAILS


def test_a_batch_of_all_kinds() -> None:
    batch = np.stack(
        [np.eye(3), np.diag([1.0, 2, 3]), np.full((3, 3), np.inf), np.array([[0, 1, 0]] * 3)]
    )
    found = eigbench.diagnose(batch)
    assert [facts.label for facts in found.facts] == ["M[0]", "M[1]", "M[2]", "M[3]"]
    assert finding(found, "not finite").text.startswith("`M[2]")
    assert finding(found, "not symmetric").text.startswith("`M[3]")
    assert finding(found, "NaN").text.startswith("`M[0]")


def test_of_a_large_batch_the_worst_are_measured_and_that_is_said() -> None:
    batch = np.stack([with_spectrum(1, 2 + i, 9) for i in range(6)])
    batch[4] = np.eye(3)
    found = eigbench.diagnose(batch)
    labels = [one.facts.label for one in found.measured]
    assert labels[0] == "M[4]"
    assert len(labels) == 4
    assert "Of 6 matrices only M[4], " in " ".join(str(found).split())


def test_a_large_matrix_does_not_take_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    from eigbench.diagnosis import trials

    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.0)
    found = eigbench.diagnose(np.diag(np.arange(1.0, 66)))
    assert all(attempt.outcome is GradientOutcome.REFUSED for attempt in found.measured[0].attempts)
    assert "would take about" in str(found)


@pytest.mark.parametrize(
    ("M", "words"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (np.zeros((0, 0)), "square"),
        (np.zeros((0, 3, 3)), "square"),
        (np.zeros(4), "square"),
        (np.eye(2) * 1j, "real numbers"),
        (np.array([["a", "b"], ["c", "d"]]), "real numbers"),
        ([[1, 2], [3]], "not an array"),
    ],
)
def test_what_is_no_square_matrix_is_refused_in_a_line(M: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        eigbench.diagnose(M)
    assert "\n" not in str(caught.value)


EVERY_KIND: dict[str, tuple[Any, ...]] = {
    "not_finite": (np.full((2, 2), np.nan),),
    "asymmetric": (np.array([[1.0, 2.0], [0.0, 1.0]]),),
    "half": (torch.diag(torch.tensor([1.0, 2.0])).half(),),
    "out_of_range": (np.diag([1.0, 2.0]) * 1e200,),
    "upstream_not_finite": (np.diag([1.0, 2.0]), np.full((2, 2), np.inf)),
    "basis_matters": (np.eye(2), {"eigenvectors": np.arange(4.0).reshape(2, 2)}),
    "basis_irrelevant": (np.eye(2), {"eigenvectors": np.eye(2)}),
    "fails": (np.eye(2),),
    "finite_is_not_right": (np.eye(2),),
    "wrong": (with_spectrum(1, 1 + 1e-6, 2, 3).astype(np.float32),),
    "right": (np.diag([1.0, 2.0]),),
    "right_by_chance": (np.cov(np.random.default_rng(0).standard_normal((6, 3))),),
    "one_by_one": (np.ones((1, 1)),),
    "indefinite": (np.diag([-1.0, 2.0]),),
    "singular": (np.diag([0.0, 2.0]),),
    "ill_conditioned": (np.diag([1e-6, 2.0]).astype(np.float32),),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_finding_has_its_words(kind: str) -> None:
    found = eigbench.diagnose(*EVERY_KIND[kind])
    (one,) = [finding for finding in found.findings if finding.kind == kind]
    # A piece of a template that met nothing, or an empty value.
    prose = re.sub(r"```.*?```", "", f"{one.title} {one.text}", flags=re.DOTALL)
    assert not re.search(r"None|\bnan\b|[{}]|  |\(\)|: \.", prose), prose


def test_no_words_belong_to_no_finding() -> None:
    template = Path(findings.__file__).with_name("templates") / "findings.md.j2"
    blocks = set(re.findall(r"{% block (\w+) %}", template.read_text("utf-8")))
    assert findings.SEVERITY.keys() == {*EVERY_KIND, "saved"}
    assert blocks == {*EVERY_KIND, "saved", "measured", "instead", "rotation"}


@st.composite
def matrices(draw: st.DrawFn) -> Floats:
    """Any finite symmetric matrix, of any scale, with ties and zeros."""
    n = draw(st.integers(1, 3))
    entries = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, 1.0, -1.0])
    )
    M = np.array(draw(st.lists(entries, min_size=n * n, max_size=n * n))).reshape(n, n)
    return np.triu(M) + np.triu(M, 1).T


@settings(max_examples=25)
@given(M=matrices())
def test_no_finite_symmetric_matrix_crashes_it(M: Floats) -> None:
    found = eigbench.diagnose(M)
    assert found.findings
    assert found.facts[0].asymmetry == 0
    assert found.verdict in str(found)


def test_the_code_that_is_advised_runs() -> None:
    for M in (np.eye(4), with_spectrum(1, 1 + 1e-6, 3, 4), np.diag([1.0, 1, 1, 5])):
        found = eigbench.diagnose(M.astype(np.float32))
        for advice in found.recommendations:
            names: dict[str, Any] = {"M": torch.tensor(M).float(), "torch": torch}
            names["eigbench"] = eigbench
            exec(advice.code, names)  # noqa: S102
        assert any(advice.code for advice in found.recommendations)


def test_markdown_has_a_row_for_each_method() -> None:
    text = eigbench.diagnose(np.eye(3)).to_markdown()
    for name in available():
        assert re.search(rf"^(\| `{name}` |Not measured: .*`{name}`)", text, re.MULTILINE), name
