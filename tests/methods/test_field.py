"""What the methods after the hybrid claim of themselves, each against something else."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

import eigbench
from eigbench.layers import ZCAWhitening2d
from eigbench.methods import pade
from eigbench.methods.functions import InverseSquareRoot, SquareRoot
from eigbench.methods.lyapunov import DENOMINATOR, NUMERATOR
from eigbench.methods.registry import configured
from tests.methods.matrices import gradient, relative, separated, symmetric, weights

CONVERGED: dict[str, dict[str, Any]] = {
    "taylor": {"degree": 200},
    "clip": {"threshold": 1e-3},
    "lorentzian": {"eta": 1e-9},
    "lorentzian-relative": {"eta": 1e-9},
    "pade": {},
    "trunc": {},
    "topn": {"leading": 5},
    "mask": {},
    "mask-checked": {},
    "gauge-projected": {},
    "jitter": {"delta": 1e-13},
    "implicit": {},
}
ROOTS: dict[str, dict[str, Any]] = {
    "newton-schulz": {"steps": 12},
    "svd-newton": {"steps": 12},
    "mpa-lyapunov": {"sign_steps": 12},
    "newton-db": {},
    "cans": {},
    "polar-express": {},
}


def eigh(method: str, **parameters: Any) -> Any:
    return lambda M: eigbench.eigh(M, method=method, **parameters)


def root_gradient(M: Tensor, function: str, method: str, **parameters: Any) -> Tensor:
    X = M.clone().requires_grad_()
    f = eigbench.matrix_function(X, function, method=method, **parameters)
    return torch.autograd.grad((weights(M) * f).sum(), X)[0]


@pytest.mark.parametrize("method", CONVERGED)
def test_with_open_gaps_each_rule_is_the_analytic_one(method: str) -> None:
    M = separated(5)
    found = gradient(eigh(method, **CONVERGED[method]), M)
    assert relative(found, gradient(torch.linalg.eigh, M)) < 1e-10


@pytest.mark.parametrize("function", ["inverse-square-root", "square-root"])
@pytest.mark.parametrize("method", ROOTS)
def test_roots_converge_to_the_exact_gradient(method: str, function: str) -> None:
    # So narrow that the Padé approximant has converged too.
    M = symmetric(torch.linspace(1, 1.5, 3, dtype=torch.float64))
    exact = root_gradient(M, function, "spectral")
    assert relative(root_gradient(M, function, method, **ROOTS[method]), exact) < 1e-6
    at_a_tie = symmetric(torch.tensor([1, 1.5, 1.5], dtype=torch.float64))
    exact = root_gradient(at_a_tie, function, "spectral")
    assert relative(root_gradient(at_a_tie, function, method, **ROOTS[method]), exact) < 1e-6


def test_the_taylor_root_converges_where_the_spectrum_is_narrow() -> None:
    M = symmetric(torch.linspace(1, 1.2, 2, dtype=torch.float64))
    for function in ("inverse-square-root", "square-root"):
        found = root_gradient(M, function, "mtp-lyapunov", sign_steps=12)
        assert relative(found, root_gradient(M, function, "spectral")) < 1e-5


def test_the_pade_coefficients_are_the_shortest_solution() -> None:
    """[N/N] of Σ qᵏ: N equations `Σ_j b_j a_{k−j} = −a_k`, k = N+1 … 2N, with every a = 1."""
    N = 50
    series = np.ones(2 * N + 1)
    hankel = np.array([[series[N + 1 + i - j] for j in range(1, N + 1)] for i in range(N)])
    b, _, rank, _ = np.linalg.lstsq(hankel, -series[N + 1 :], rcond=None)
    assert rank == 1
    numerator, denominator = pade.coefficients(N)
    assert_allclose(denominator[1:], b, rtol=1e-12)
    assert_allclose(numerator, np.cumsum(denominator), atol=1e-14)


def test_pade_is_the_analytic_rule_but_for_rounding() -> None:
    for q in (0.1, 0.9, 0.999, 1 - 1e-6):
        M = torch.diag(torch.tensor([q, 1.0], dtype=torch.float64))
        found = gradient(eigh("pade"), M)
        # Q cancels: an error of some roundings over 1 − q.
        assert relative(found, gradient(torch.linalg.eigh, M)) < 100 * 2.2e-16 / (1 - q)


def test_the_root_of_mpa_is_the_pade_approximant() -> None:
    with mpmath.workdps(40):
        series = [mpmath.binomial(0.5, k) * (-1) ** k for k in range(11)]
        P, Q = mpmath.pade(series, 5, 5)
        for a in (0.01, 0.3, 1.0):
            z = 1 - mpmath.mpf(a)
            theirs = sum(c * z**k for k, c in enumerate(P)) / sum(c * z**k for k, c in enumerate(Q))
            ours = sum(c * mpmath.mpf(a) ** k for k, c in enumerate(NUMERATOR)) / sum(
                c * mpmath.mpf(a) ** k for k, c in enumerate(DENOMINATOR)
            )
            assert abs(theirs - ours) < 1e-30


@pytest.mark.parametrize(
    ("function", "bound"), [("square-root", 1e-2), ("inverse-square-root", 3e-2)]
)
def test_eight_sign_steps_reach_the_gradient_of_a_large_matrix(function: str, bound: float) -> None:
    """By the Frobenius norm of the root, five and three times as far off."""
    M = torch.eye(256, dtype=torch.float64)
    W = weights(M)
    X = M.clone().requires_grad_()
    found, exact = (
        torch.autograd.grad(eigbench.matrix_function(X, function, method=method), X, W)[0]
        for method in ("mpa-lyapunov", "spectral")
    )
    assert relative(found, exact) < bound


def test_topn_drops_what_is_not_leading() -> None:
    values = torch.tensor([0.1, 0.2, 0.3, 1.0, 2.0], dtype=torch.float64)
    found, _ = eigbench.eigh(symmetric(values), method="topn", leading=2)
    assert_allclose(found, [2.2e-16] * 3 + [1, 2], rtol=0.1)
    # By default the larger half is kept, and the order stays whatever the scale of M.
    assert (eigbench.eigh(symmetric(values), method="topn")[0] > 1e-3).sum() == 3
    tiny, _ = eigbench.eigh(symmetric(values) * 1e-20, method="topn")
    assert (tiny.diff() >= 0).all()
    # Its gradient is the analytic one of a matrix that has those eigenvalues.
    M = symmetric(torch.tensor([2.2e-16, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    (G,) = torch.autograd.grad(_leading_part(M, "topn", leading=2), M)
    (exact,) = torch.autograd.grad(_leading_part(M, "eigh"), M)
    assert relative(G, exact) < 1e-12


def _leading_part(M: Tensor, method: str, **parameters: Any) -> Tensor:
    values, V = eigbench.eigh(M, method=method, **parameters)
    part = (V[:, 1:] * values[1:]) @ V[:, 1:].mT
    return (weights(M) * part).sum()


@pytest.mark.parametrize(
    "method",
    ["clip", "trunc", "lorentzian", "lorentzian-relative", "taylor", "mask", "gauge-projected"],
)
def test_at_a_tie_the_gradient_is_finite(method: str) -> None:
    for M in (torch.eye(4), torch.zeros(4, 4), torch.diag(torch.tensor([1.0, 1, 2, 2]))):
        assert gradient(eigh(method), M).isfinite().all()


def test_an_isolated_vector_beside_repeated_ones() -> None:
    """`implicit` is right where `eigh` is NaN: the identity but for one eigenvalue."""
    M = torch.diag(torch.tensor([1.0, 1, 1, 4], dtype=torch.float64)).requires_grad_()
    W = weights(M.detach())

    def loss(method: str) -> Tensor:
        v = eigbench.eigh(M, method=method)[1][:, -1:]
        return (W * (v @ v.mT)).sum()

    exact = eigbench.matrix_function(M, _Top(), method="spectral")
    (truth,) = torch.autograd.grad((W * exact).sum(), M)
    for method in ("implicit", "subspace"):
        (found,) = torch.autograd.grad(loss(method), M)
        assert relative(found, truth) < 1e-12
    (of_eigh,) = torch.autograd.grad(loss("eigh"), M)
    assert of_eigh.isnan().any()


class _Top(InverseSquareRoot):
    """The projector on the last eigenvector."""

    def values(self, eigenvalues: Any) -> Any:
        return torch.nn.functional.one_hot(torch.tensor(3), 4).to(eigenvalues)

    def divided_differences(self, eigenvalues: Any) -> Any:
        F = torch.zeros(4, 4, dtype=eigenvalues.dtype)
        F[3, :3] = F[:3, 3] = 1 / (eigenvalues[3] - eigenvalues[:3])
        return F


def test_implicit_says_where_there_is_no_derivative() -> None:
    """One matrix of a batch asks for a vector of a tie: its gradient is NaN, the other's is not."""
    M = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, 2, 3]))]).requires_grad_()
    loss = eigbench.eigh(M, method="implicit")[1][..., 0, 1].sum()
    (G,) = torch.autograd.grad(loss + (weights(M) * M).sum(), M)
    assert G[0].isnan().all()
    assert G[1].isfinite().all()


def test_subspace_cuts_where_it_is_told() -> None:
    M = separated(4).requires_grad_()
    for leading in (1, 2, 3):
        V = eigbench.eigh(M, method="subspace", leading=leading)[1][:, 4 - leading :]
        (found,) = torch.autograd.grad((weights(M) * (V @ V.mT)).sum(), M)
        V = eigbench.eigh(M, method="eigh")[1][:, 4 - leading :]
        (exact,) = torch.autograd.grad((weights(M) * (V @ V.mT)).sum(), M)
        assert relative(found, exact) < 1e-12


def test_cholesky_whitens() -> None:
    M = separated(5, (3,)).requires_grad_()
    S = configured("cholesky").whitening(M)
    identity = torch.eye(5, dtype=M.dtype).expand(3, 5, 5)
    torch.testing.assert_close(S @ M @ S.mT, identity, rtol=0, atol=1e-12)
    W = torch.randn(5, 5, dtype=M.dtype, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda X: configured("cholesky").whitening(X) * W, M)


@pytest.mark.parametrize("scale", [1e-24, 1e-12, 1e12, 1e24])
@pytest.mark.parametrize("function", ["inverse-square-root", "square-root"])
@pytest.mark.parametrize("method", [*ROOTS, "mtp-lyapunov"])
def test_roots_do_not_overflow(method: str, function: str, scale: float) -> None:
    M = symmetric(torch.tensor([1.0, 1.5, 2.0]))
    found = root_gradient(M * scale, function, method).double()
    power = -1.5 if function == "inverse-square-root" else -0.5
    # Of 1e24 ** −1.5 a float32 has few digits left.
    allowed = 1e-4 if scale < 1e20 else 1e-2
    assert relative(found * scale**-power, root_gradient(M, function, method)) < allowed


@pytest.mark.parametrize(
    "method", ["cholesky", "newton-schulz", "coupled-newton", "cans", "mtp-lyapunov"]
)
def test_without_eigenpairs(method: str) -> None:
    M = torch.eye(3)
    with pytest.raises(ValueError, match=f"{method} computes no eigenpairs"):
        eigbench.eigh(M, method=method)
    with pytest.raises(ValueError, match=r"no other function|no function of the"):
        eigbench.matrix_function(M, "identity", method=method)
    with pytest.raises(ValueError, match="'none' is right"):
        ZCAWhitening2d(4, method=method, truncation="algorithm-1")


def test_svd_newton_has_the_value_of_the_decomposition() -> None:
    M = separated(5)
    for function in (SquareRoot(), InverseSquareRoot()):
        value = configured("svd-newton", steps=1).matrix_function(M, function)
        exact = eigbench.matrix_function(M, function)
        torch.testing.assert_close(value, exact, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("taylor", {"degree": 0}),
        ("pade", {"degree": 1.5}),
        ("clip", {"threshold": 0.0}),
        ("trunc", {"largest": float("inf")}),
        ("topn", {"leading": True}),
        ("lorentzian", {"eta": -1.0}),
        ("mask", {"tolerance": 0.0}),
        ("mask-checked", {"gauge_tolerance": -1.0}),
        ("jitter", {"delta": 0.0}),
        ("newton-schulz", {"steps": 0}),
        ("svd-newton", {"steps": 0}),
        ("mpa-lyapunov", {"sign_steps": 0}),
        ("coupled-newton", {"steps": 0}),
        ("cans", {"condition": 0.0}),
        ("polar-express", {"polish": 0}),
        ("implicit", {"atol": 0.0}),
        ("subspace", {"leading": 0}),
    ],
)
def test_senseless_parameters_are_refused(method: str, parameters: dict[str, Any]) -> None:
    name = next(iter(parameters))
    with pytest.raises(ValueError, match=f"{name} must be a"):
        configured(method, **parameters)
