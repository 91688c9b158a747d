"""Rules that leave pairs out, and a loss that sees the basis inside a cluster or does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.contract.formulas import formula_gradients
from eigbench.contract.subject import sample
from eigbench.losses import LOSSES
from eigbench.measure.differentiate import differentiate
from eigbench.methods.registry import configured
from tests.methods.matrices import relative, symmetric, weights

METHODS = ("mask", "mask-checked", "gauge-projected")
TIED = torch.tensor([0.5, 1.0, 1.0, 2.0], dtype=torch.float64)


def gradient(M: Tensor, loss: Callable[[Tensor, Tensor], Tensor], method: str) -> Tensor:
    X = M.clone().requires_grad_()
    return torch.autograd.grad(loss(*eigbench.eigh(X, method=method)), X)[0]


def of_function(values: Tensor, V: Tensor) -> Tensor:
    return (weights(V) * ((V * values[..., None, :] ** -0.5) @ V.mT)).sum()


def of_subspace(_: Tensor, V: Tensor) -> Tensor:
    return (weights(V) * (V[..., 1:] @ V[..., 1:].mT)).sum()


def of_entropy(values: Tensor, _: Tensor) -> Tensor:
    return -(values * values.log()).sum()


def of_one_value(values: Tensor, _: Tensor) -> Tensor:
    return values[..., 1].sum()


def of_one_vector(_: Tensor, V: Tensor) -> Tensor:
    return V[..., 0, 1].sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_see_the_basis_has_its_exact_gradient(
    method: str, dtype: torch.dtype
) -> None:
    M = symmetric(TIED)
    values, V = torch.linalg.eigh(M)
    B = V.mT @ weights(M) @ V
    across = torch.zeros(4, 4, dtype=M.dtype)
    across[0, 1:] = across[1:, 0] = 1 / (values[1:] - values[0])
    exact = V @ (across * B) @ V.mT
    allowed = 1e-12 if dtype == torch.float64 else 1e-5
    assert relative(gradient(M.to(dtype), of_subspace, method).double(), exact) < allowed
    of_logarithm = -(V * (values.log() + 1)) @ V.mT
    found = gradient(M.to(dtype), of_entropy, method).double()
    assert relative(found, of_logarithm) < allowed


@pytest.mark.parametrize("loss", [of_function, of_one_value, of_one_vector])
def test_what_sees_it_is_nan_with_mask_checked_and_with_no_other(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    tie, apart = symmetric(TIED), symmetric(torch.arange(1, 5, dtype=torch.float64))
    M = torch.stack([tie, apart])
    assert gradient(M, loss, "mask-checked")[0].isnan().all()
    for method in METHODS:
        G = gradient(M, loss, method)
        assert relative(G[1], gradient(apart, loss, "eigh")) < 1e-12
        assert method == "mask-checked" or G.isfinite().all()


def test_mask_is_finite_and_wrong_of_a_function_of_a_tie() -> None:
    M = symmetric(TIED).requires_grad_()
    f = eigbench.matrix_function(M, "inverse-square-root")
    (exact,) = torch.autograd.grad((weights(M) * f).sum(), M)
    assert relative(gradient(M.detach(), of_function, "mask"), exact) > 0.03


def test_strict_says_why() -> None:
    M = symmetric(TIED).requires_grad_()
    pairs = eigbench.eigh(M, method="mask-checked", strict=True)
    assert torch.autograd.grad(of_subspace(*pairs), M, retain_graph=True)[0].isfinite().all()
    with pytest.raises(RuntimeError, match=r"gauge residual \de-01\), .* eigbench.matrix_function"):
        torch.autograd.grad(of_function(*pairs), M)


def test_gauge_projected_depends_on_no_basis_and_says_what_it_left_out() -> None:
    M = symmetric(TIED)
    with pytest.warns(RuntimeWarning, match=r"gauge residual \de-01\); that part"):
        G = gradient(M, of_function, "gauge-projected")
    V = torch.linalg.eigh(M)[1]
    inside = (V.mT @ G @ V)[1:3, 1:3]
    # In any basis of the cluster it is the same multiple of the identity.
    assert relative(inside, inside[0, 0] * torch.eye(2, dtype=M.dtype)) < 1e-12
    of_mask = (V.mT @ gradient(M, of_function, "mask") @ V)[1:3, 1:3]
    assert inside.trace() == pytest.approx(of_mask.trace())
    assert (of_mask[0, 0] - of_mask[1, 1]).abs() > 1e-3


def test_gauge_projected_does_not_warn_of_what_sees_no_basis(
    recwarn: pytest.WarningsRecorder,
) -> None:
    gradient(symmetric(TIED), of_subspace, "gauge-projected")
    assert not recwarn.list


@pytest.mark.parametrize("gap", [1e-10, 1e-13, 1e-14, 0.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_closing_gap_is_taken_as_the_formula_in_60_digits_takes_it(
    method: str, gap: float
) -> None:
    """Along the axes, where the gap is what is written. Beyond 1e-12 the default leaves it out."""
    known = sample((0.3, 1.0, 1.0 + gap, 1.7), rotate_basis=False)
    W = weights(torch.zeros(4, 4, dtype=torch.float64))[None]
    for name in ("whitening", "eigenvector", "subspace"):
        function, chosen = LOSSES[name].function(known.eigenvalues), configured(method)
        found = differentiate(chosen, torch.tensor(known.matrices()), function, W).gradient
        own = formula_gradients(chosen, known.matrices(), W.numpy(), function, 2.0**-52)
        assert own is not None
        assert np.isnan(own).all() == found.isnan().all()
        # 1/gap multiplies the rounding of A.
        assert np.isnan(own).all() or relative(found, torch.tensor(own)) < 1e-16 / (gap or 1) * 100


@pytest.mark.parametrize("name", ["tolerance", "gauge_tolerance"])
def test_a_tolerance_is_relative_and_a_choice(name: str) -> None:
    M = 1e-20 * symmetric(torch.tensor([0.5, 1.0, 1.001, 2.0], dtype=torch.float64))
    assert gradient(M, of_function, "mask-checked").isfinite().all()
    X = M.clone().requires_grad_()
    pairs = eigbench.eigh(X, method="mask-checked", tolerance=1e-2)
    assert torch.autograd.grad(of_function(*pairs), X)[0].isnan().all()
    given: Any = {"tolerance": 1e-2, name: 10.0 if name == "gauge_tolerance" else 1e-9}
    pairs = eigbench.eigh(X, method="mask-checked", **given)
    assert torch.autograd.grad(of_function(*pairs), X)[0].isfinite().all()


def test_jitter_is_eigh_of_another_matrix_the_same_in_every_call() -> None:
    M = torch.stack([torch.eye(4, dtype=torch.float64), 3 * torch.eye(4, dtype=torch.float64)])
    values, _ = eigbench.eigh(M, method="jitter", delta=1e-3)
    noise = np.random.default_rng(0).random(4)
    moved = torch.tensor(np.sort(1 + 1e-3 * noise))
    torch.testing.assert_close(values, torch.stack([moved, 3 * moved]), rtol=1e-14, atol=0)
    assert torch.equal(values, eigbench.eigh(M, method="jitter", delta=1e-3)[0])
    other, _ = eigbench.eigh(M, method="jitter", delta=1e-3, seed=1)
    assert not torch.equal(values, other)


def test_jitter_has_the_second_derivative_of_that_matrix_at_a_tie() -> None:
    M = symmetric(TIED).requires_grad_()
    loss = eigbench.eigh(M, method="jitter").eigenvalues.log().sum()
    (G,) = torch.autograd.grad(loss, M, create_graph=True)
    E, inverse = weights(M), torch.linalg.inv(M.detach())
    (found,) = torch.autograd.grad((E * G).sum(), M)
    assert 1e-9 < relative(found, -inverse @ E @ inverse) < 1e-4


def test_in_forward_mode_mask_checked_has_nan_inside_a_cluster_alone() -> None:
    M = symmetric(TIED)
    push: Any = torch.func.jvp
    found, wanted = (
        push(lambda X, name=name: tuple(eigbench.eigh(X, method=name)), (M,), (weights(M),))[1]
        for name in ("mask-checked", "mask")
    )
    assert all(x[..., 1:3].isnan().all() for x in found)
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x[..., [0, 3]], y[..., [0, 3]])
