"""What people bring, and the answer that is right: each case stands for its kind.

The numbers of each case are drawn again, so that an answer cannot hang on one rounding.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.diagnosis.findings import Severity
from tests.diagnosis.making import (
    advice,
    advised,
    covariance,
    gradient_of,
    kinds,
    upstream,
    with_spectrum,
)


def off(gradient: Tensor, exact: Tensor) -> float:
    """The relative error."""
    return float((gradient.double() - exact.double()).norm() / exact.double().norm())


t = torch.tensor
LAPLACIAN = t([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]])
UNIT = t([math.cos(0.2), math.sin(0.2)])
SHIFTED = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + 5e3
"""With a mean that is large."""
Situation = tuple[Tensor, str, str, dict[str, str]]
SITUATIONS: dict[str, Situation] = {
    "a zero is no tie": (
        torch.outer(UNIT, UNIT),
        "zero_under_root",
        "does not come from a gap",
        {"inverse-square-root": "spectral", "leading-vector": "eigh"},
    ),
    "fewer samples than channels": (
        covariance(20, 48, seed=20),
        "zero_under_root",
        "rank 19 of 48",
        {"smallest-vector": "", "leading-subspace": "spectral"},
    ),
    "the same, converted": (
        covariance(20, 48, seed=20).double(),
        "zero_under_root",
        "rank 19 of 48",
        {"smallest-vector": "", "leading-subspace": "spectral"},
    ),
    "as many samples as channels": (
        covariance(64, 64, seed=0),
        "zero_under_root",
        "Dead channels",
        {"inverse-square-root": "spectral"},
    ),
    "an indefinite matrix": (
        LAPLACIAN - 0.7 * torch.eye(3),
        "indefinite",
        "M^(−1/2) does not exist",
        {"negative-subspace": "spectral", "function": "spectral"},
    ),
    "bfloat16": (
        torch.diag(t([1.0, 2, 3, 4])).bfloat16(),
        "half",
        "bfloat16",
        {"inverse-square-root": "spectral"},
    ),
    "a Laplacian, whose second smallest vector counts": (
        LAPLACIAN,
        "zero_under_root",
        "rank 2 of 3",
        {"smallest-vector": "eigh", "second-smallest-vector": "eigh"},
    ),
    "a difference of large numbers": (
        SHIFTED.T @ SHIFTED / 100 - torch.outer(SHIFTED.mean(0), SHIFTED.mean(0)),
        "cancellation",
        "Subtract the mean",
        {},
    ),
    "a narrow gap in float64": (
        t(with_spectrum(1, 1 + 9e-13, 2, 3)),
        "right",
        "9.0e-13",
        {"smallest-vector": "eigh"},
    ),
    "a narrow gap in float32": (
        t(with_spectrum(1, 1 + 1e-5, 2, 3, 4), dtype=torch.float32),
        "wrong",
        "no warning",
        {"inverse-square-root": "spectral", "smallest-vector": "eigh"},
    ),
    "small numbers": (
        torch.diag(t([0.5, 1, 1, 1.02, 1.03])) * 1e-5,
        "tie",
        "λ[1] and λ[2]",
        {"leading-vector": "mask", "inverse-square-root": "spectral"},
    ),
    "not square": (
        torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
        "right",
        "singular values",
        {"low-rank": "spectral", "polar": "spectral", "leading-singular-vectors": "eigh"},
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_people_bring(situation: str) -> None:
    M, kind, words, methods = SITUATIONS[situation]
    found = eigbench.diagnose(M)
    assert found.findings[0].kind == kind
    assert words in " ".join(found.findings[0].text.split())
    assert {use: advised(found, use) for use in methods} == methods
    # What is pasted was executed, is of M's type, and has a gradient by M.
    tried = {
        trial.cure.code
        for one in found.measured
        for answer in one.answers.values()
        for trial in answer.trials
        if trial.always_right
    }
    for one in found.recommendations:
        if one.code:
            assert one.code in tried
            gradient = gradient_of(one, M, lambda *parts: sum(part.abs().sum() for part in parts))
            assert gradient.isfinite().all()
            # Of a singular M nothing has a root but M + εI, or M on its range.
            singular = bool(found.facts[0].zeros) and "square-root" in one.use
            assert not singular or one.regularised > 0


def test_precision_and_vectors_follow_the_digits_of_m() -> None:
    narrow = eigbench.diagnose(SITUATIONS["a narrow gap in float32"][0])
    assert "M.double()" in advice(narrow, "smallest-vector").code
    few = eigbench.diagnose(SITUATIONS["the same, converted"][0])
    assert advice(few, "leading-subspace").chosen == tuple(range(29, 48))
    assert "null space" in advice(few, "smallest-vector").why
    half = eigbench.diagnose(SITUATIONS["bfloat16"][0])
    codes = [one.code for one in half.recommendations if one.code]
    assert all("M.float()" in code or "M.double()" in code for code in codes)
    centred = eigbench.diagnose(covariance(100, 5, seed=0, mean=5e3))
    assert "cancellation" not in kinds(centred)


@pytest.mark.parametrize("vector", [[1.0, 2, 3], [0.5, 0.1, 4, 2, 2]])
def test_a_vector_beside_a_null_space_is_separated(vector: list[float]) -> None:
    x = torch.tensor(vector)
    found = eigbench.diagnose(torch.outer(x, x))
    lead = advice(found, "leading-vector")
    assert lead.method == "mask"
    w = torch.ones(len(x))
    u, norm = (x / x.norm()).double(), float(x @ x)
    half = torch.outer(w.double() - u * (u @ w.double()), u) * (u @ w.double()) / norm
    exact = half + half.T
    gradient = gradient_of(lead, torch.outer(x, x), lambda v: (v @ w) ** 2)
    assert off((gradient + gradient.T) / 2, exact) < 1e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("values", [(0.01, 1, 1), (0.3, 2, 2, 2), (5, 5, 9)])
def test_advice_follows_the_spectrum_and_not_one_rounding(
    values: tuple[float, ...], seed: int
) -> None:
    M = torch.tensor(with_spectrum(*values, seed=seed), dtype=torch.float32)
    found = eigbench.diagnose(M)
    assert found.findings[0].kind == "tie"
    alone = "leading-vector" if values[-1] != values[-2] else "smallest-vector"
    assert advised(found, alone) == "mask"
    tied = "smallest-vector" if alone == "leading-vector" else "leading-vector"
    assert advised(found, tied) == ""


def test_a_loss_that_does_not_see_the_tie_has_its_gradient() -> None:
    w = torch.tensor([1.0, 2.0, 3.0])
    M = torch.diag(torch.tensor([0.01, 1.0, 1.0]))
    given = upstream(M, lambda _, V: (V[:, 0] @ w) ** 2)
    found = eigbench.diagnose(M, given)
    assert found.findings[0].kind == "own_fails"
    # By hand: v0 = e0, and dv0 = Σ vj (vjᵀ dM v0)/(λ0 − λj).
    exact = torch.zeros(3, 3)
    exact[0, 1:] = exact[1:, 0] = w[0] * w[1:] / (0.01 - 1)
    seen = found.measured[0].seen
    assert seen is not None
    assert seen.gradient is not None
    assert off(torch.tensor(seen.gradient), exact) < 1e-6
    yours = advice(found, "yours")
    gradient = gradient_of(yours, M, lambda _, V: (V[:, 0] @ w) ** 2)
    assert off(gradient, exact) < 1e-5


def test_the_polar_factor_of_the_identity() -> None:
    W = torch.tensor([[1.0, 2, 3], [0, 1, 5], [2, 2, 1]])
    U, _, Vh = torch.linalg.svd(torch.eye(3))
    found = eigbench.diagnose(torch.eye(3), {"left": W @ Vh.mT, "right": U.mT @ W})
    assert found.findings[0].kind == "own_fails"
    yours = advice(found, "yours")
    gradient = gradient_of(yours, torch.eye(3), lambda Q: (Q * W).sum())
    assert off(gradient, (W - W.T) / 2) < 1e-5
    seen = found.measured[0].seen
    assert seen is not None
    assert np.allclose(np.asarray(seen.gradient), ((W - W.T) / 2).numpy(), atol=1e-6)


@pytest.mark.parametrize(("size", "rank"), [(15, 3), (8, 6)])
def test_singular_values_that_are_zero_are_named(size: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(size)
    y = torch.randn(size, rank, generator=generator) @ torch.randn(rank, size, generator=generator)
    U, S, Vh = torch.linalg.svd(y)
    ones = torch.ones(size, size)
    by = {"left": ones @ Vh.mT * S, "right": S[:, None] * (U.mT @ ones)}
    found = eigbench.diagnose(y, {**by, "singular values": torch.diagonal(U.mT @ ones @ Vh.mT)})
    assert found.findings[0].kind == "undetermined"
    assert f"zero to rounding {size - rank} times" in " ".join(found.findings[0].text.split())
    assert "use M" in found.findings[0].text or "by M is that" in found.findings[0].text


def test_what_is_not_symmetric_is_taken_as_torch_takes_it() -> None:
    M = torch.tensor([[2.0, 9.0], [1.0, 5.0]])
    X = M.clone().requires_grad_()
    torch.linalg.eigh(X)[0][0].backward()
    found = eigbench.diagnose(M, {"eigenvalues": torch.tensor([1.0, 0.0])})
    seen = found.measured[0].seen
    assert seen is not None
    assert X.grad is not None
    assert np.allclose(np.asarray(seen.gradient), X.grad.numpy(), atol=1e-6)
    assert np.allclose(np.asarray(seen.gradient), [[0.916, -0.277], [-0.277, 0.084]], atol=1e-3)
    assert "no gradient" not in str(found)


def test_a_loss_of_a_function_of_m_is_recognised_at_a_tie() -> None:
    M = torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    W = torch.tensor([[1.0, 2, 0], [2, 3, 1], [0, 1, 4]])
    for power, name in ((-0.5, "inverse-square-root"), (0.5, "square-root")):
        given = upstream(
            M,
            lambda values, V, p=power: ((V * values**p) @ V.mT * W).sum(),
        )
        found = eigbench.diagnose(M, given)
        assert found.findings[0].kind == "own_fails"
        yours = advice(found, "yours")
        assert name in yours.code
        exact = gradient_of(yours, M.double(), lambda S: (S * W).sum())
        seen = found.measured[0].seen
        assert seen is not None
        assert off(torch.tensor(seen.gradient), exact) < 1e-5


def test_a_loss_of_one_vector_of_a_tie_has_no_derivative() -> None:
    M = torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    found = eigbench.diagnose(M, upstream(M, lambda _, V: V[:, 0] @ torch.tensor([1.0, 2, 3])))
    assert found.findings[0].kind == "no_derivative"
    assert advised(found, "yours") == ""
    values = eigbench.diagnose(M, {"eigenvalues": torch.tensor([1.0, 0, 0])})
    assert values.findings[0].kind == "no_derivative"


def test_a_complex_loss_that_sees_a_phase_has_no_derivative() -> None:
    M = torch.tensor([[2.0, 1j], [-1j, 5.0]])
    w = torch.tensor([1 + 1j, 2.0 - 1j])
    found = eigbench.diagnose(M, upstream(M, lambda _, V: (V[:, 0] @ w).real))
    assert found.findings[0].kind == "no_derivative"
    assert "phase" in found.findings[0].text
    blind = eigbench.diagnose(M, upstream(M, lambda _, V: (V[:, 0] @ w).abs() ** 2))
    assert blind.findings[0].severity is Severity.WELL
