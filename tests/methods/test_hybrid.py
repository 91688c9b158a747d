"""The paper's method: closed form against literal loop, its bound, its limit, its edges."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import eigbench
from eigbench.methods.hybrid import Hybrid
from tests.methods.matrices import relative, symmetric


def covariance(d: int, seed: int = 0) -> Tensor:
    """A sample covariance: eigenvalues as chance makes them, some close, none zero."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(d, 4 * d, generator=generator, dtype=torch.float64)
    return X @ X.mT / (4 * d)


def by_cotangents(M: Tensor, method: str, iterations: int, seed: int = 1) -> Tensor:
    """The gradient for random ∂L/∂λ and ∂L/∂V."""
    generator = torch.Generator().manual_seed(seed)
    M = M.clone().requires_grad_()
    values, V = eigbench.eigh(M, method=method, iterations=iterations)
    cotangents = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (values, V)]
    found: Tensor = torch.autograd.grad((values, V), M, cotangents)[0]
    return found


@pytest.mark.parametrize("d", [4, 8, 16, 32, 64])
def test_closed_form_is_the_literal_loop(d: int) -> None:
    M = covariance(d)
    for iterations in range(1, 30):
        ours = by_cotangents(M, "hybrid", iterations)
        literal = by_cotangents(M, "hybrid-loop", iterations)
        assert relative(ours, literal) < 1e-10, iterations


@pytest.mark.parametrize("iterations", [1, 2, 19])
def test_indefinite_matrices_have_the_series_of_the_shifted_one(iterations: int) -> None:
    values = torch.tensor([-2.0, -0.5, 0.1, 1.0, 3.0], dtype=torch.float64)
    method = Hybrid(iterations)
    for ours, semidefinite in zip(
        method.half_coefficients(values), method.half_coefficients(values + 2), strict=True
    ):
        torch.testing.assert_close(ours.triu(1), semidefinite.triu(1), rtol=1e-14, atol=0)


def test_tends_to_the_analytic_gradient() -> None:
    M = symmetric(torch.tensor([0.7, 0.8, 0.9, 1.0], dtype=torch.float64))
    X = M.clone().requires_grad_()
    values, V = torch.linalg.eigh(X)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (values, V)]
    (analytic,) = torch.autograd.grad((values, V), X, cotangents)
    analytic = (analytic + analytic.mT) / 2
    errors = [relative(by_cotangents(M, "hybrid", K), analytic) for K in (1, 10, 30, 100, 400)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "values",
    [(1, 1, 1, 1), (2, 2, 1, 1), (1, 1, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0), (1, 1 - 1e-12, 1, 0.5)],
)
@pytest.mark.parametrize("iterations", [1, 2, 19])
def test_no_nan_at_any_tie(values: tuple[float, ...], iterations: int, dtype: torch.dtype) -> None:
    G = by_cotangents(torch.diag(torch.tensor(values, dtype=dtype)), "hybrid", iterations)
    assert torch.isfinite(G).all()


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-38, 1e-30, 1e-5, 1e5, 1e30, 1e37])
def test_tables_are_finite_at_any_scale(scale: float) -> None:
    values = torch.tensor([0.0, 0.1, 0.5, 0.5, 1.0]) * scale
    for table in Hybrid().half_coefficients(values):
        assert torch.isfinite(table).all()


@given(
    eigenvalues=st.lists(st.sampled_from([1e-4, 1e-3, 0.1, 0.1 + 1e-9, 0.5, 1.0, 30.0]), min_size=2,
                         max_size=6),
    iterations=st.integers(1, 60),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_bounded_as_eq_12_says(eigenvalues: list[float], iterations: int, seed: int) -> None:
    M = symmetric(torch.tensor(eigenvalues, dtype=torch.float64), seed).requires_grad_()
    values, V = eigbench.eigh(M, iterations=iterations)
    generator = torch.Generator().manual_seed(seed)
    by_values = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    by_vectors = torch.randn(V.shape, generator=generator, dtype=torch.float64)
    (by_vectors_only,) = torch.autograd.grad(V, M, by_vectors, retain_graph=True)
    (both,) = torch.autograd.grad((values, V), M, (by_values, by_vectors))
    n, smallest = len(eigenvalues), min(eigenvalues)
    paper = n * iterations / smallest * float(by_vectors.norm(dim=-2).max())
    # The factor is for rounding: λmin is known to an absolute 1e-15 of the largest.
    assert float(by_vectors_only.norm()) <= paper * (1 + 1e-9)
    assert float(both.norm()) <= (paper + float(by_values.norm())) * (1 + 1e-9)
    # Without the paper's triangle inequality over the pairs the factor n is not needed.
    tighter = iterations / smallest * float(by_vectors.norm())
    assert float(by_vectors_only.norm()) <= tighter * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1e-5, 1e-2, 1e2, 1e5])
def test_no_hidden_scale(scale: float) -> None:
    M = covariance(6)
    M = M / M.norm()

    def of_vectors(X: Tensor) -> Tensor:
        X = X.clone().requires_grad_()
        V = eigbench.eigh(X).eigenvectors
        signs = torch.sign(V.detach().sum(dim=-2, keepdim=True))
        weights = torch.linspace(-1, 1, V.numel(), dtype=V.dtype).reshape(V.shape)
        found: Tensor = torch.autograd.grad((V * signs * weights).sum(), X)[0]
        return found

    assert relative(of_vectors(M * scale) * scale, of_vectors(M)) < 1e-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("iterations", [1, 2, 3, 9, 19, 20, 29, 100])
@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 0.99, 1 - 1e-6, 1 - 1e-12, 1.0])
def test_tables_against_exact_arithmetic(q: float, iterations: int, dtype: torch.dtype) -> None:
    leading = 0.7
    values = torch.tensor([q * leading, leading], dtype=dtype)
    half_minus, half_surplus = (
        t[0, 1].item() for t in Hybrid(iterations).half_coefficients(values)
    )
    with mpmath.workdps(50):
        small, large = (mpmath.mpf(x) for x in values.tolist())
        ratio = small / large
        minus = sum((ratio**k for k in range(iterations - 1)), mpmath.mpf(0)) / large
        surplus = ratio ** (iterations - 1) / large if iterations > 1 else 1 / large
        plus = minus + surplus
        # q itself is rounded twice, which S(K) amplifies by up to K/2 and q^(K−1) by K.
        allowed = 2 * (iterations + 8) * torch.finfo(dtype).eps
        assert abs(2 * half_minus - minus) <= allowed * max(minus, mpmath.mpf(1))
        underflow = 2 * torch.finfo(dtype).tiny
        assert abs(2 * half_surplus - surplus) <= allowed * surplus + underflow
        assert 2 * (half_minus + half_surplus) <= iterations / large * (1 + allowed)
        assert abs(2 * (half_minus + half_surplus) - plus) <= allowed * plus


def test_a_pair_of_zeros_passes_no_gradient() -> None:
    """Power iteration has nothing to iterate on there; documented, not hidden."""
    minus, surplus = Hybrid().half_coefficients(torch.tensor([0.0, 0.0, 1.0]))
    assert minus[0, 1] == surplus[0, 1] == 0
    assert minus[0, 2] == minus[1, 2] == 0.5
    assert math.isfinite(float(minus.sum()))
