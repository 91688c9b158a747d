"""One pass of a method: through its eigenpairs, or through functions of M alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from eigbench.losses import LOSSES, exact_gradient
from eigbench.measure.differentiate import differentiate, problem_of
from eigbench.methods.base import Eigenpairs, Method
from eigbench.methods.functions import InverseSquareRoot
from eigbench.methods.registry import configured
from eigbench.spectra import Sample
from tests.measure.test_stability import SEEDS, case, samples
from tests.methods.matrices import relative, separated, weights


@pytest.mark.parametrize("gap", [0.3, 1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("loss", ["whitening", "reconstruction", "subspace"])
def test_spectral_is_exact_at_any_gap(loss: str, gap: float) -> None:
    found = samples("spectral", gap=gap, loss=loss)
    assert max(found["gradient_error"]) < 1e-12
    if loss != "subspace":  # of which the pair, inside the subspace, has no component
        # The pair's own basis is known to rounding/gap only, and its component with it.
        assert found["closing_pair_ratio"] == pytest.approx([1.0] * SEEDS, rel=1e-12 + 1e-14 / gap)
    assert found["inside_bound"] == [1.0] * SEEDS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spectrum", ["gap", "identity"])
def test_spectral_is_exact_at_a_tie(spectrum: str, dtype: str) -> None:
    gap = 0.0 if spectrum == "gap" else None
    found = samples("spectral", spectrum=spectrum, gap=gap, dtype=dtype)
    assert max(found["gradient_error"]) < 200 * torch.finfo(getattr(torch, dtype)).eps
    assert found["gradient_finite"] == found["disturbed_finite"] == [1.0] * SEEDS


def test_spectral_and_eigh_share_the_bound() -> None:
    """It belongs to the loss and the pairs, not to the gradient rule."""
    assert samples("spectral")["gradient_bound"] == samples("eigh")["gradient_bound"]


@pytest.mark.parametrize("method", ["eigh", "pi", "spectral"])
def test_derivatives_by_the_pairs_are_those_written_out(method: str) -> None:
    M = separated(4, (2, 3))
    W = weights(M)
    found = differentiate(configured(method), M, InverseSquareRoot(), W)
    assert found.pairs is not None
    values, V = found.pairs
    by_vectors = 2 * W @ V * values[..., None, :] ** -0.5
    assert relative(found.by_eigenvectors, by_vectors) < 1e-14
    quotients = (V * (W @ V)).sum(-2)
    assert relative(found.by_eigenvalues, -0.5 * values**-1.5 * quotients) < 1e-14
    assert not any(x.requires_grad for x in (values, V, found.gradient, found.by_eigenvalues))


@dataclass(frozen=True)
class Counting(Method):
    """Counts its calls, whose results differ."""

    name: ClassVar[str] = "counting"
    summary: ClassVar[str] = "for a test"
    source: ClassVar[str] = "none"
    calls: ClassVar[list[int]] = []

    def eigh(self, M: Tensor) -> Eigenpairs:
        self.calls.append(1)
        return Eigenpairs(*torch.linalg.eigh(M * len(self.calls)))


def test_pairs_and_gradient_are_of_one_call() -> None:
    """Of a method with random starts they would not belong together otherwise."""
    values = np.array([[0.1, 0.3, 1.0]])
    sample = Sample(values, np.eye(3)[None])
    W = weights(torch.empty(3, 3, dtype=torch.float64))
    function = LOSSES["reconstruction"].function(values)
    found = differentiate(Counting(), torch.tensor(sample.matrices()), function, W)
    assert len(Counting.calls) == 1
    assert found.pairs is not None
    assert relative(found.pairs.eigenvalues, torch.tensor(values)) < 1e-14
    truth = torch.tensor(exact_gradient(sample, function, W.numpy()[None]))
    assert relative(found.gradient, truth) < 1e-14


def test_a_truth_in_numpy_becomes_a_tensor() -> None:
    """The projector of a problem holds NumPy numbers in float64."""
    problem = problem_of(case(loss="subspace"), {}, configured("spectral"))
    M = torch.tensor(problem.matrices, dtype=torch.float32)
    found = differentiate(
        configured("spectral"), M, problem.function, torch.tensor(problem.W).float()
    )
    assert found.gradient.dtype == torch.float32
    assert relative(found.gradient, torch.tensor(problem.gradient)) < 1e-4
