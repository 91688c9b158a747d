"""Where power iteration starts: from a seed, or afresh at each call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import eigbench
from tests.methods.matrices import gradient, relative, separated, symmetric, weights


def eigenvalues(M: Tensor, seed: int | None) -> Tensor:
    """After two iterations, which still show where they started."""
    return eigbench.eigh(M, method="pi", iterations=2, seed=seed).eigenvalues


def test_starts_belong_to_the_seed() -> None:
    M = separated(4)
    starts = [eigenvalues(M, seed) for seed in (0, 0, 1)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_a_seed_leaves_torch_s_generator_alone() -> None:
    before = torch.get_rng_state()
    eigenvalues(separated(4), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_each_call_starts_afresh() -> None:
    M = separated(4)
    assert not torch.equal(eigenvalues(M, None), eigenvalues(M, None))


def test_without_a_seed_each_matrix_has_its_own_starts() -> None:
    twice = separated(4).expand(2, 4, 4)
    assert not torch.equal(*eigenvalues(twice, None))
    assert torch.equal(*eigenvalues(twice, 0))


def test_fresh_starts_come_again_with_torch_s_generator() -> None:
    M = separated(4)
    torch.manual_seed(5)
    first = eigenvalues(M, None)
    state = torch.get_rng_state()
    second = eigenvalues(M, None)
    torch.set_rng_state(state)
    assert torch.equal(eigenvalues(M, None), second)
    torch.manual_seed(5)
    assert torch.equal(eigenvalues(M, None), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fresh_starts_converge_to_the_same_pairs(dtype: torch.dtype) -> None:
    M = separated(5, (3,), dtype)

    def eigh(M: Tensor) -> eigbench.methods.base.Eigenpairs:
        return eigbench.eigh(M, method="pi", iterations=120, seed=None)

    values, V = eigh(M)
    assert values.dtype == V.dtype == dtype
    rounding = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(values, torch.linalg.eigvalsh(M), rtol=0, atol=rounding)
    # Condition number 16 and gaps of a half: some hundred roundings at most.
    assert relative(gradient(eigh, M), gradient(torch.linalg.eigh, M)) < 4 * rounding


def test_fresh_starts_compile_whole() -> None:
    torch.compiler.reset()
    M = separated(4, (2,)).requires_grad_()
    compiled = torch.compile(eigenvalues, fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    found = compiled(M, None)
    assert torch.isfinite(torch.autograd.grad(found.sum(), M)[0]).all()
    torch.manual_seed(3)
    assert not torch.equal(compiled(M, None), compiled(M, None))


def test_the_released_variant_keeps_the_order_in_which_pairs_are_found() -> None:
    """Two iterations from seed 2 find a larger eigenvalue after a smaller one."""
    M = symmetric(torch.tensor([0.90, 0.95, 0.97, 1.0], dtype=torch.float64))
    values, V = eigbench.eigh(M, method="pi-released", iterations=2)
    ordered, W = eigbench.eigh(M, method="pi", iterations=2)
    assert not torch.equal(values, ordered)
    assert torch.equal(values.sort().values, ordered)
    torch.testing.assert_close((V * values) @ V.mT, (W * ordered) @ W.mT)
    deflated = M
    for value, v in zip(values.flip(-1), V.mT.flip(0), strict=True):
        torch.testing.assert_close(v @ deflated @ v, value)
        deflated = deflated - torch.outer(deflated @ v, v)


def test_the_released_variant_is_pi_where_it_converges() -> None:
    M = separated(4)
    for name, reference in zip(
        eigbench.eigh(M, method="pi-released", iterations=120),
        eigbench.eigh(M, method="pi", iterations=120),
        strict=True,
    ):
        assert torch.equal(name, reference)


@pytest.mark.parametrize("n", [3, 24])
def test_the_gradient_is_the_one_that_autograd_finds_operator_by_operator(n: int) -> None:
    """As under a transform; of two iterations, which have not converged, and of 24 rows, too."""
    M = symmetric(torch.linspace(0.5, 2, n, dtype=torch.float64)).repeat(2, 1, 1)
    M[1] *= 3
    W = torch.linspace(-1, 1, n * n, dtype=torch.float64).reshape(n, n)

    def loss(M: Tensor) -> Tensor:
        values, V = eigbench.eigh(M, method="pi", iterations=2)
        return (W * V).sum((-2, -1)) + values.pow(2).sum(-1)

    wanted = torch.func.grad(lambda M: loss(M).sum())(M)
    X = M.clone().requires_grad_()
    (one_by_one,) = torch.autograd.grad(loss(X), X, torch.eye(2).double(), is_grads_batched=True)
    assert relative(one_by_one.sum(0), wanted) < 1e-12
    for record in (False, True):
        (found,) = torch.autograd.grad(loss(X).sum(), X, create_graph=record)
        assert relative(found, wanted) < 1e-12


def test_a_third_derivative_is_the_one_of_the_eigenvalues() -> None:
    """Of Σ λ³ along E, E and E: 6 tr E³."""
    M = symmetric(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    E, along = weights(M), eigbench.eigh(M, method="pi", iterations=40).eigenvalues.pow(3).sum()
    E = (E + E.mT) / 2
    for _ in range(3):
        along = (E * torch.autograd.grad(along, M, create_graph=True)[0]).sum()
    torch.testing.assert_close(along, 6 * torch.trace(E @ E @ E))
