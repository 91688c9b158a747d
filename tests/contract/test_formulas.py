"""Every built-in rule against its own formula in 60 digits, which shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from eigbench.contract.formulas import FORMULAS, formula_gradients
from eigbench.contract.subject import sample, weights
from eigbench.losses import LOSSES, exact_gradient
from eigbench.measure.differentiate import differentiate
from eigbench.methods.functions import (
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    Truncated,
)
from eigbench.methods.registry import built_in, configured, parameter_names

NAMES = ("whitening", "square-root", "reconstruction", "subspace", "eigenvector")
OPEN, CLOSING = (0.6, 0.85, 1.2), (0.6, 1.0, 1.0001)


def parameters(method: str) -> dict[str, int]:
    """Few iterations, for a method that has them."""
    return {"iterations": 7} if "iterations" in parameter_names(method) else {}


def error(method: str, values: tuple[float, ...], name: str, dtype: torch.dtype) -> float | None:
    """Relative distance from the method's own formula; None of a loss that it refuses."""
    known, chosen = sample(values), configured(method, **parameters(method))
    function = LOSSES[name].function(known.eigenvalues)
    if chosen.function_refusal(function) is not None:
        return None
    M, W = torch.tensor(known.matrices()).to(dtype), weights(3).numpy()[None]
    found = differentiate(chosen, M, function, torch.tensor(W).to(dtype)).gradient.double().numpy()
    rounding = torch.finfo(dtype).eps
    own = formula_gradients(chosen, M.double().numpy(), W, function, rounding)
    assert own is not None
    return float(np.linalg.norm(found - own) / np.linalg.norm(own))


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("least", [-1e-300, -0.1])
def test_a_formula_with_the_root_of_a_negative_eigenvalue_has_no_value(
    method: str, least: float
) -> None:
    M, W = np.diag([least, 1.0, 2.0])[None], weights(3).numpy()[None]
    own = formula_gradients(
        configured(method, **parameters(method)), M, W, InverseSquareRoot(), 1e-16
    )
    assert own is not None
    assert np.isnan(own).all() or np.isfinite(own).all()


def test_every_built_in_method_has_its_formula() -> None:
    assert set(FORMULAS) == set(built_in())


@pytest.mark.parametrize("method", FORMULAS)
def test_a_gradient_is_that_of_its_own_formula(method: str) -> None:
    found = {name: error(method, OPEN, name, torch.float64) for name in NAMES}
    taken_by = {name: value for name, value in found.items() if value is not None}
    assert "whitening" in taken_by
    # Condition number 2, gaps of a quarter: some hundred roundings at most.
    assert max(taken_by.values()) < 1e-13


@pytest.mark.parametrize("method", [name for name in FORMULAS if name not in ("pi", "pi-released")])
def test_in_float32_too_and_with_a_gap_that_closes(method: str) -> None:
    single = error(method, OPEN, "whitening", torch.float32)
    closing = error(method, CLOSING, "whitening", torch.float64)
    assert single is not None
    assert single < 1e-4
    assert closing is not None
    # The gap has lost four of sixteen digits, and the linear systems of `implicit` eight.
    assert closing < (1e-7 if method == "implicit" else 1e-10)


class Other(InverseSquareRoot):
    pass


class Unknown(type(configured("eigh"))):  # type: ignore[misc]
    name = "unknown"


def test_what_has_no_formula_is_not_compared() -> None:
    M = np.eye(2)[None]
    assert formula_gradients(configured("eigh"), M, M, Other(), 0) is None
    assert formula_gradients(Unknown(), M, M, InverseSquareRoot(), 0) is None


def test_a_formula_that_divides_by_zero_gives_nan() -> None:
    M, W = np.eye(2)[None], np.array([[[1.0, 2.0], [2.0, 3.0]]])
    found = formula_gradients(configured("eigh"), M, W, InverseSquareRoot(), 0)
    assert found is not None
    assert np.isnan(found).all()
    exact = formula_gradients(configured("spectral"), M, W, InverseSquareRoot(), 0)
    assert exact == pytest.approx(-W / 2)


@pytest.mark.parametrize(
    "function",
    [
        Truncated(InverseSquareRoot(), np.array([[0.0, 1.0, 1.0]])),
        Projector(np.array([[0.0, 0.0, 1.0]])),
    ],
    ids=["truncated", "projector"],
)
def test_the_truth_is_that_of_60_digits(function: SpectralFunction) -> None:
    """The exact gradient in float64, with the terms across the cut, against divided differences."""
    known, W = sample(OPEN), weights(3).numpy()[None]
    own = formula_gradients(configured("spectral"), known.matrices(), W, function, 0)
    assert own is not None
    assert exact_gradient(known, function, W) == pytest.approx(own, rel=1e-12, abs=1e-14)


def test_eq_10_leaves_out_what_comes_through_the_eigenvalues() -> None:
    """The two formulas differ by V diag(∂L/∂λ) Vᵀ, written out here in float64."""
    known, W = sample(OPEN), weights(3).numpy()[None]
    whole, without = (
        formula_gradients(configured(name), known.matrices(), W, InverseSquareRoot(), 0)
        for name in ("hybrid", "hybrid-eq10")
    )
    assert whole is not None
    assert without is not None
    V = known.eigenvectors[0]
    slopes = -0.5 * known.eigenvalues[0] ** -1.5 * np.diag(V.T @ W[0] @ V)
    assert whole[0] - without[0] == pytest.approx((V * slopes) @ V.T, rel=1e-12, abs=1e-14)


def _gradient(method: str, M: Tensor, by_values: Tensor, by_vectors: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    return torch.autograd.grad(configured(method).eigh(X), X, (by_values, by_vectors))[0]


def test_without_a_dependence_on_the_eigenvalues_eq_10_is_the_hybrid() -> None:
    M = torch.tensor(sample(OPEN).matrices())
    nothing, by_vectors = torch.zeros(1, 3, dtype=M.dtype), torch.randn(1, 3, 3, dtype=M.dtype)
    whole, without = (_gradient(name, M, nothing, by_vectors) for name in ("hybrid", "hybrid-eq10"))
    assert torch.equal(whole, without)
    # Whatever ∂L/∂λ is, infinite included.
    infinite = torch.full((1, 3), torch.inf, dtype=M.dtype)
    assert torch.equal(_gradient("hybrid-eq10", M, infinite, by_vectors), without)
