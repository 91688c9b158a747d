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


@pytest.mark.parametrize("angle", [0.2, 0.7, 1.3])
def test_a_zero_eigenvalue_is_no_tie(angle: float) -> None:
    u = torch.tensor([math.cos(angle), math.sin(angle)])
    found = eigbench.diagnose(torch.outer(u, u))
    assert found.findings[0].kind == "zero_under_root"
    assert "does not come from a gap" in " ".join(found.findings[0].text.split())
    root = advice(found, "inverse-square-root")
    assert root.regularised > 0
    assert "torch.eye(2)" in root.code
    assert advised(found, "leading-vector") == "eigh"


@pytest.mark.parametrize(("samples", "channels"), [(20, 48), (5, 9), (12, 16)])
@pytest.mark.parametrize("double", [False, True])
def test_the_rank_is_that_of_the_data_also_after_conversion(
    samples: int, channels: int, double: bool
) -> None:
    M = covariance(samples, channels, seed=samples)
    found = eigbench.diagnose(M.double() if double else M)
    assert f"rank {samples - 1} of {channels}" in " ".join(found.findings[0].text.split())
    leading = advice(found, "leading-subspace")
    assert leading.chosen == tuple(range(channels - samples + 1, channels))
    assert advised(found, "smallest-vector") == ""
    assert "null space" in advice(found, "smallest-vector").why


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


def test_one_answer_for_a_covariance_of_as_many_samples_as_channels() -> None:
    found = eigbench.diagnose(covariance(64, 64, seed=0))
    root = advice(found, "inverse-square-root")
    assert root.regularised > 0
    assert "inverse-square-root" not in "".join(
        one.code for one in found.recommendations if not one.regularised
    )


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


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e12])
def test_nothing_to_be_avoided_is_recommended(scale: float) -> None:
    for values in ((0.5, 1, 1, 1.02, 1.03), (0.9, 1, 1), (1, 2, 3)):
        found = eigbench.diagnose(torch.diag(torch.tensor(values)) * scale)
        methods = {one.method for one in found.recommendations}
        assert methods <= {"", "eigh", "mask", "spectral"}


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


def test_what_is_rectangular_has_its_own_questions() -> None:
    found = eigbench.diagnose(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    uses = {one.use for one in found.recommendations}
    assert uses == {"low-rank", "polar", "singular-values", "leading-singular-vectors"}
    assert all(one.method for one in found.recommendations)


def test_an_indefinite_matrix_gets_what_applies() -> None:
    laplacian = torch.tensor([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]])
    for shift in (0.7, 2.0):
        found = eigbench.diagnose(laplacian - shift * torch.eye(3))
        assert kinds(found)[0] == "indefinite"
        assert "square-root" not in str(found)
        assert advised(found, "negative-subspace") == advised(found, "function") == "spectral"


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_pasted_as_float(dtype: torch.dtype) -> None:
    found = eigbench.diagnose(torch.diag(torch.tensor([1.0, 2, 3, 4])).to(dtype))
    assert kinds(found)[0] == "half"
    codes = [one.code for one in found.recommendations if one.code]
    assert codes
    assert all("M.float()" in code or "M.double()" in code for code in codes)


def test_there_is_a_row_for_the_smallest_vectors() -> None:
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(30, 9, generator=generator)
    path = torch.diag(torch.tensor([1.0, 2, 2, 1])) - torch.diag(torch.ones(3), 1)
    for M in (A.T @ A, path - torch.diag(torch.ones(3), -1)):
        found = eigbench.diagnose(M)
        assert advised(found, "smallest-vector")
        assert advised(found, "second-smallest-vector")
        assert advice(found, "second-smallest-vector").chosen == (1,)


@pytest.mark.parametrize("mean", [5e3, 2e4])
def test_cancellation_is_told_from_a_wrong_sign(mean: float) -> None:
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + mean
    found = eigbench.diagnose(x.T @ x / 100 - torch.outer(x.mean(0), x.mean(0)))
    assert found.findings[0].kind == "cancellation"
    assert "Subtract the mean" in found.findings[0].text
    centred = eigbench.diagnose(covariance(100, 5, seed=0, mean=mean))
    assert "cancellation" not in kinds(centred)


@pytest.mark.parametrize("gap", [9e-13, 3e-12])
def test_a_width_is_no_cure_for_a_gap_that_is_narrower(gap: float) -> None:
    M = torch.tensor(with_spectrum(1, 1 + gap, 2, 3))
    found = eigbench.diagnose(M)
    assert advised(found, "smallest-vector") == "eigh"
    assert all("lorentzian" not in one.code for one in found.recommendations)


def test_a_small_gap_is_finite_and_wrong_in_float32_and_right_in_float64() -> None:
    M = torch.tensor(with_spectrum(1, 1 + 1e-5, 2, 3, 4), dtype=torch.float32)
    found = eigbench.diagnose(M)
    assert found.findings[0].kind == "wrong"
    closest = advice(found, "smallest-vector")
    assert closest.precision == "float64"
    assert "M.double()" in closest.code
    assert advised(found, "inverse-square-root") == "spectral"


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


def test_every_line_that_is_shown_was_executed() -> None:
    """Code is shown in findings and in advice; of each what it binds has a gradient by M."""
    for M in (
        torch.eye(4),
        torch.diag(torch.tensor([0.0, 0, 1, 2])),
        torch.tensor(with_spectrum(1, 1 + 1e-5, 3, 4), dtype=torch.float32),
        torch.tensor(with_spectrum(1, 1, 1, 5)),
        torch.diag(torch.tensor([-1.0, 2, 2])),
        torch.diag(torch.tensor([1.0, 2, 3])).bfloat16(),
        torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
        covariance(4, 6, seed=0),
    ):
        found = eigbench.diagnose(M)
        tried = {
            trial.cure.code
            for one in found.measured
            for answer in one.answers.values()
            for trial in answer.trials
            if trial.always_right
        }
        pasted = [one.code for one in found.recommendations if one.code]
        assert set(pasted) <= tried
        for one in found.recommendations:
            if one.code:
                gradient = gradient_of(
                    one, M, lambda *parts: sum(part.abs().sum() for part in parts)
                )
                assert gradient.isfinite().all(), one.code
