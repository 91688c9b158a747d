"""Upstream gradients: whose they are, and what is right with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import eigbench
from eigbench.diagnosis.findings import Severity
from eigbench.diagnosis.trials import YOURS, GradientOutcome
from eigbench.errors import InputError
from eigbench.spectra import Floats
from tests.diagnosis.making import finding, with_spectrum


def _gradients(M: Floats, loss: Any) -> dict[str, Floats]:
    """`∂L/∂λ` and `∂L/∂V` of a loss at torch's own eigenpairs."""
    pairs = [part.requires_grad_() for part in torch.linalg.eigh(torch.tensor(M))]
    found = torch.autograd.grad(loss(*pairs), pairs, materialize_grads=True, allow_unused=True)
    return dict(zip(("eigenvalues", "eigenvectors"), (x.numpy() for x in found), strict=True))


def _loss(values: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    weights = torch.arange(16.0, dtype=V.dtype).reshape(4, 4).sin()
    return (weights * V * V).sum() + values.square().sum()


def test_the_users_own_gradient_is_measured_against_the_exact_one() -> None:
    M = with_spectrum(1, 2, 3, 5)
    found = eigbench.diagnose(M, _gradients(M, _loss))
    (measured,) = found.measured
    use = next(use for use in measured.uses if use.name == YOURS)
    X = torch.tensor(M).requires_grad_()
    (truth,) = torch.autograd.grad(_loss(*torch.linalg.eigh((X + X.mT) / 2)), X)
    assert use.exact is not None
    assert np.allclose(use.exact, truth.numpy(), rtol=1e-12, atol=1e-13)
    for method in ("eigh", "svd", "implicit"):  # whose signs of eigenvectors may differ
        attempt = measured.attempt(method, YOURS, "float64")
        assert attempt.outcome is GradientOutcome.RIGHT
        assert attempt.error < 1e-12
    assert measured.attempt("spectral", YOURS, "float64").outcome is GradientOutcome.REFUSED
    assert measured.attempt("subspace", YOURS, "float64").outcome is GradientOutcome.WRONG


def test_a_gradient_of_the_function_takes_the_place_of_the_drawn_one() -> None:
    M = np.diag([1.0, 4.0])
    W = np.array([[1.0, 0.0], [0.0, 0.0]])
    found = eigbench.diagnose(M, W)
    use = next(use for use in found.measured[0].uses if use.name == "whitening")
    assert use.exact is not None
    assert np.allclose(use.exact, np.diag([-0.5, 0.0]))


def test_at_a_tie_a_loss_of_single_vectors_has_no_derivative() -> None:
    def entries(_values: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        return (torch.arange(16.0, dtype=V.dtype).reshape(4, 4).sin() * V).sum()

    M = np.diag([1.0, 1.0, 2.0, 3.0])
    found = eigbench.diagnose(M, _gradients(M, entries))
    assert finding(found, "not determined").severity is Severity.FAILS
    (measured,) = found.measured
    assert next(use for use in measured.uses if use.name == YOURS).exact is None
    assert measured.attempt("clip", YOURS, "float64").outcome is GradientOutcome.UNKNOWN


def test_at_a_tie_a_loss_of_the_whole_is_told_from_it() -> None:
    def whole(values: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(16.0, dtype=V.dtype).reshape(4, 4).sin()
        return (weights * ((V * values**-0.5) @ V.mT)).sum()

    M = np.diag([1.0, 1.0, 2.0, 3.0])
    found = eigbench.diagnose(M, _gradients(M, whole))
    assert finding(found, "does not depend on the basis").severity is Severity.NOTE


def test_a_gradient_that_is_nan_already_is_not_blamed_on_the_decomposition() -> None:
    M = with_spectrum(1, 2, 3)
    found = eigbench.diagnose(M, np.full((3, 3), np.nan))
    assert "before it reached" in found.verdict
    assert (
        found.measured[0].attempt("eigh", "whitening", "float64").outcome is GradientOutcome.RIGHT
    )


@pytest.mark.parametrize("ending", ["npz", "pt", "safetensors"])
def test_gradients_come_from_a_file(tmp_path: Path, ending: str) -> None:
    M = with_spectrum(1, 2, 3, 5)
    gradients = _gradients(M, _loss)
    path = tmp_path / f"gradients.{ending}"
    tensors = {name: torch.tensor(value) for name, value in gradients.items()}
    if ending == "npz":
        np.savez(path, **gradients)  # type: ignore[arg-type]
    elif ending == "pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    np.save(tmp_path / "M.npy", M)
    found = eigbench.diagnose(tmp_path / "M.npy", path)
    assert found.measured[0].attempt("eigh", YOURS, "float64").outcome is GradientOutcome.RIGHT


def test_gradients_go_by_the_keys_of_the_matrices(tmp_path: Path) -> None:
    one, two = np.eye(2), with_spectrum(1, 2, 3)
    np.savez(tmp_path / "M.npz", one=one, two=two)
    np.savez(tmp_path / "W.npz", one=one * 2, two=two * 3)
    found = eigbench.diagnose(tmp_path / "M.npz", tmp_path / "W.npz")
    matrices = {matrix.label: matrix for matrix in found.evidence.matrices}
    assert matrices.keys() == {"one", "two"}
    given = matrices["two"].upstream.by_function
    assert given is not None
    assert np.array_equal(given, two * 3)


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        (np.eye(3), r"shape \(3, 3\); \(2, 2\) is right"),
        ({"eigenvalues": np.ones(3)}, r"shape \(3,\); \(2,\) is right"),
        ({"eigenvectors": np.ones((2, 3))}, "is right"),
        ({"eigenvalue": np.ones(2), "x": np.ones(2)}, "no gradient for M"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(gradients: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        eigbench.diagnose(np.eye(2), gradients)
