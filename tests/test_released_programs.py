"""What docs/field.md says of released programs, computed again by their formulas in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods.lyapunov import solve_lyapunov
from eigbench.methods.roots import NEWTON_SCHULZ
from eigbench.methods.smooth import Smooth
from eigbench.truncation import algorithm_1


def test_the_coefficients_of_pade_are_rounding_noise() -> None:
    def released(digits: int, N: int = 50) -> Any:
        with mpmath.workdps(digits):
            return mpmath.pade(mpmath.taylor(lambda x: 1 / (1 - x), 0, 2 * N), N, N)

    (p15, q15), (p20, q20) = released(15), released(20)
    assert abs(q15[1] - q20[1]) > 0.01  # other coefficients altogether
    assert abs(sum(q15[1:]) + 1) < 1e-9 > abs(sum(q20[1:]) + 1)  # the one equation
    for p, q in ((p15, q15), (p20, q20)):
        for gap in (0.1, 1e-3, 1e-6):  # 1/(1 − x) to ten digits
            x = mpmath.mpf(1) - gap
            assert abs(gap * mpmath.polyval(p[::-1], x) / mpmath.polyval(q[::-1], x) - 1) < 1e-9


@pytest.mark.parametrize(
    ("batch", "one_norm", "least", "most"),
    [(1, True, 0, 1e-3), (256, True, 0.3, 1), (256, False, 0, 1e-3)],
)
def test_one_norm_for_a_batch_loses_a_third_of_the_gradient(
    batch: int, one_norm: bool, least: float, most: float
) -> None:
    torch.manual_seed(0)
    n = 16
    V, _ = torch.linalg.qr(torch.randn(batch, n, n, dtype=torch.float64))
    S = (V * torch.linspace(0.3, 1, n, dtype=torch.float64)) @ V.mT  # condition number 3
    X = torch.eye(n, dtype=torch.float64) + 0 * S
    right = S @ X + X @ S
    if one_norm:  # the norm of all, by scaling each to it
        B, C = S / torch.linalg.norm(S), right / torch.linalg.norm(S)
        for _ in range(8):
            C = (C @ (3 * X - B @ B) - B @ B @ C + B @ C @ B) / 2
            B = B @ (3 * X - B @ B) / 2
        found = C / 2
    else:
        found = solve_lyapunov(S, right, [NEWTON_SCHULZ] * 8)
    assert least <= torch.linalg.norm(found - X) / torch.linalg.norm(X) < most


@pytest.mark.parametrize(
    ("function", "error"), [("square-root", 0.007), ("inverse-square-root", 0.021)]
)
def test_how_far_eight_steps_of_mpa_lya_reach(function: str, error: float) -> None:
    n = 256
    M = torch.eye(n, dtype=torch.float64, requires_grad=True)
    W = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, exact = (
        torch.autograd.grad(eigbench.matrix_function(M, function, method=method), M, W)[0]
        for method in ("mpa-lyapunov", "spectral")
    )
    assert float((found - exact).norm() / exact.norm()) == pytest.approx(error, rel=0.1)


def test_svd_pi_projects_out_everything() -> None:
    torch.manual_seed(0)
    n = 64
    V, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    upstream = torch.randn(n, n, dtype=torch.float64)
    projected = upstream - V @ (V.mT @ upstream)  # (I − VVᵀ) ∂L/∂V
    assert torch.linalg.norm(projected) < 1e-11 * torch.linalg.norm(upstream)


@pytest.mark.parametrize(
    ("f", "slope", "least", "most"),
    [
        (lambda s: s * s.abs(), lambda s: 2 * s.abs(), 0.2, 0.5),
        (lambda s: s / s.abs().sqrt(), lambda s: 0.5 / s.abs().sqrt(), 0.3, 0.6),
        (lambda s: s, torch.ones_like, 0, 1e-14),
    ],
)
def test_svd_inv_is_right_at_ties_for_the_identity_alone(
    f: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], least: float, most: float
) -> None:
    def error(seed: int, n: int = 4) -> float:
        draw = torch.Generator().manual_seed(seed)
        W = torch.randn(n, n, dtype=torch.float64, generator=draw)
        M = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=draw))[0]  # σ = 1
        U, S, Vh = torch.linalg.svd(M)
        Y = U.mT @ W @ Vh.mT
        found = U @ (f(S) * Y + torch.diag((slope(S) - f(S)) * Y.diagonal())) @ Vh
        M = M.requires_grad_()
        (exact,) = torch.autograd.grad(eigbench.svd_function(M, Smooth(f, slope)), M, W)
        return float((found - exact).norm() / exact.norm())

    assert least <= sorted(map(error, range(20)))[10] < most


def test_rounding_decides_which_eigenvalues_near_epsilon_are_kept() -> None:
    def ranks(slack: float, n: int = 64, rank: int = 27, eps: float = 1e-3) -> Iterator[int]:
        for seed in range(20):
            X = torch.randn(n, rank, generator=torch.Generator().manual_seed(seed))
            M = X @ X.mT / rank + eps * torch.eye(n)
            pairs = eigbench.eigh(M)
            rounding = n * torch.finfo(M.dtype).eps * float(pairs.eigenvalues[-1])
            yield int(algorithm_1(M, pairs, eps + slack * rounding).rank)

    assert min(ranks(slack=0)) > 30
    assert set(ranks(slack=1)) == {27}
