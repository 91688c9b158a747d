"""Every method on CUDA, against float64 on the CPU: values and gradients, and large batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods import gpu
from eigbench.methods.decomposition import decompose
from eigbench.methods.functions import InverseSquareRoot, Whitening
from tests.gpu.counting import waits
from tests.gpu.graphs import captured
from tests.methods.declared import (
    ACCURATE,
    ALL,
    DECOMPOSING,
    WHITENING,
    WITH_PAIRS,
    converged,
    few,
    takes,
)
from tests.methods.matrices import relative, separated, symmetric

N = 6
TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-9}
"""Of float32 the largest condition number here, 60, times some roundings of terms of Eq. 1."""


def _loss_of_pairs(method: str, parameters: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """A loss of both eigenvalues and eigenvectors that depends on no sign."""

    def loss(M: Tensor) -> Tensor:
        values, V = eigbench.eigh(M, method=method, **parameters)
        ranks = torch.arange(1, M.shape[-1] + 1, dtype=M.dtype, device=M.device)
        weights = torch.outer(ranks, 1 / ranks)
        return (values * ranks).sum() + (((V * ranks) @ V.mT) * (weights + weights.mT)).sum()

    return loss


def _loss_of_whitening(method: str, parameters: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    def loss(M: Tensor) -> Tensor:
        S = eigbench.matrix_function(M, Whitening(), method=method, **parameters)
        ranks = torch.arange(1, M.shape[-1] + 1, dtype=M.dtype, device=M.device)
        return (S * torch.outer(ranks, 1 / ranks)).sum()

    return loss


def _gradient(loss: Callable[[Tensor], Tensor], M: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    return torch.autograd.grad(loss(X), X)[0]


def _require_as_on_the_host(
    loss: Callable[[Tensor], Tensor], M: Tensor, dtype: torch.dtype, slack: float = 1.0
) -> None:
    there = M.to("cuda", dtype)
    assert relative(loss(there).cpu(), loss(M)) < slack * TOLERANCE[dtype]
    assert relative(_gradient(loss, there).cpu(), _gradient(loss, M)) < slack * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("method", [name for name in ACCURATE if name in WITH_PAIRS])
def test_eigenpairs(method: str, dtype: torch.dtype) -> None:
    _require_as_on_the_host(
        _loss_of_pairs(method, converged(method)), separated(N, (3,)), dtype, slack=10
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("method", [name for name in ACCURATE if name in WHITENING])
def test_whitening(method: str, dtype: torch.dtype) -> None:
    _require_as_on_the_host(
        _loss_of_whitening(method, converged(method)), separated(N, (3,)), dtype, slack=10
    )


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_matrices(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(5, N, N, dtype=torch.complex128, generator=generator)
    M = X @ X.mH + torch.eye(N)

    def loss(M: Tensor) -> Tensor:
        S = eigbench.matrix_function(M, InverseSquareRoot(), method="spectral")
        return (S.abs() ** 2).sum()

    there = M.to("cuda", dtype)
    error = relative(
        torch.view_as_real(_gradient(loss, there).cpu()), torch.view_as_real(_gradient(loss, M))
    )
    assert error < (1e-4 if dtype == torch.complex64 else 1e-10)


@pytest.mark.parametrize(
    ("method", "batch"),
    [
        *itertools.product(
            ["eigh", "svd", "hybrid", "spectral", "newton-schulz"], [1, 1000, 40_000]
        ),
        # torch's own eigh fails from 65,536 matrices on.
        *itertools.product(["hybrid", "spectral"], [70_000]),
    ],
)
def test_batches_of_any_size(method: str, batch: int) -> None:
    n = 4
    values = 1 + torch.arange(n) + torch.rand(batch, n, generator=torch.Generator().manual_seed(2))
    M = symmetric(values.double())
    loss = _loss_of_whitening(method, converged(method))
    _require_as_on_the_host(loss, M, torch.float32)


@pytest.mark.parametrize("n", [32, 33, 64, 130, 400])
def test_sizes_at_which_solvers_change(n: int) -> None:
    M = symmetric(torch.linspace(1, 3, n, dtype=torch.float64).expand(3, n))
    for method in ("hybrid", "spectral"):
        # Gaps of 2/n: K terms of the series leave (1 − gap)ᴷ.
        parameters = {"iterations": 40 * n} if method == "hybrid" else {}
        _require_as_on_the_host(_loss_of_whitening(method, parameters), M, torch.float64, 1e2)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(33, 33), (1, 64, 64), (2, 3, 48, 48), (5, 176, 176)])
def test_the_batched_solver(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """As accurate as the solver of the host, ascending, and in the layout that torch gives."""
    generator = torch.Generator().manual_seed(5)
    X = torch.randn(shape, dtype=torch.float64, generator=generator)
    M = (X + X.mT).to(dtype)
    values, V = decompose(M.cuda())
    assert values.shape == shape[:-1]
    assert (values.diff() >= 0).all()
    host = torch.linalg.eigh(M.double())
    limit = 20 * shape[-1] * torch.finfo(dtype).eps
    assert relative(values.cpu(), host.eigenvalues) < limit
    assert relative(((V * values[..., None, :]) @ V.mT).cpu(), M) < limit
    assert (V.mT @ V - torch.eye(shape[-1], device="cuda")).abs().max() < limit
    # Only the lower triangle is read.
    again, _ = decompose(M.tril().cuda())
    assert relative(again.cpu(), host.eigenvalues) < limit


def test_the_batched_solver_splits_what_takes_too_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    M = symmetric(torch.rand(50, 40, generator=torch.Generator().manual_seed(6)).double()).cuda()
    whole, _ = decompose(M)
    monkeypatch.setattr(gpu, "WORKSPACE_BYTES", 2**23)
    assert torch.equal(decompose(M)[0], whole)


def test_the_batched_solver_refuses_what_is_not_finite_as_torch_does() -> None:
    M = torch.eye(40, device="cuda").expand(3, 40, 40).clone()
    M[1, 0, 0] = torch.nan
    outcomes = []
    for solve in (torch.linalg.eigh, decompose):
        try:
            values, _ = solve(M)
            outcomes.append(bool(values[1].isnan().any()))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            outcomes.append(True)
    assert outcomes[1]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("repeated", [1, 8])
@pytest.mark.parametrize("iterations", [1, 2, 19, 64])
def test_the_kernel_is_the_rule(iterations: int, repeated: int, dtype: torch.dtype) -> None:
    """Beside the same rule in torch's operators: also with ties, zeros and negative eigenvalues."""
    values = torch.tensor([[-2, -1, 0, 0, 3.0], [0, 0, 0, 0, 0], [1, 2, 2, 4, 5]], dtype=dtype)
    M = symmetric(values.repeat(1, repeated).sort().values).cuda()
    loss = _loss_of_pairs("hybrid", {"iterations": iterations})
    found = _gradient(loss, M)
    X = M.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(X), X, create_graph=True)
    assert relative(found.cpu(), expected.cpu()) < 1e3 * torch.finfo(dtype).eps


@pytest.mark.parametrize("n", [5, 40])
def test_the_kernel_takes_what_torch_hands_on(n: int) -> None:
    """A gradient that is stored with the other sign, one that repeats, and eigenvalues NaN."""
    M = symmetric(torch.linspace(1, 2, n, dtype=torch.float64).expand(3, n)).cuda()
    pairs = eigbench.eigh(M.requires_grad_(), method="hybrid", iterations=19)
    values, V = (part.detach().clone() for part in pairs)
    values[1] = torch.nan
    negated = torch.complex(torch.zeros_like(V), V.flip(-1)).conj().imag
    assert negated.is_neg()
    for G in (negated, V[:1].expand(3, n, n)):
        found = gpu.series_gradient(values, V, values, G, 19)
        assert found is not None
        assert found[1].isnan().all()
        (plain,) = torch.autograd.grad(pairs, M, (values, G.clone()), create_graph=True)
        assert relative(found[::2].cpu(), plain[::2].cpu()) < 1e-12


def test_batches_of_cotangents() -> None:
    M = separated(N, (3,)).cuda().requires_grad_()
    V = eigbench.eigh(M, method="hybrid").eigenvectors
    ranks = torch.arange(1, N + 1, device="cuda")
    G = torch.stack([torch.ones_like(V), V.detach().flip(-1) * ranks])
    (found,) = torch.autograd.grad(V, M, G, is_grads_batched=True, retain_graph=True)
    for ours, one in zip(found, G, strict=True):
        (alone,) = torch.autograd.grad(V, M, one, retain_graph=True)
        assert relative(ours.cpu(), alone.cpu()) < 1e-12


@pytest.mark.parametrize("method", [name for name in ACCURATE if name in DECOMPOSING])
def test_a_tie_on_the_device_is_no_crash(method: str) -> None:
    """Whether a gradient of the identity is finite is the method's affair; an answer comes."""
    M = torch.eye(4, device="cuda").expand(2, 4, 4).clone()
    values, _ = eigbench.eigh(M, method=method, **converged(method))
    assert (values - 1).abs().max() < 1e-5


def _library(M: Tensor) -> None:
    values, V = torch.linalg.eigh(M)
    torch.autograd.grad(values.sum() + V.sum(), M)


@pytest.mark.parametrize("method", ["eigh", "hybrid", "spectral", "pade", "newton-schulz"])
def test_no_more_waiting_than_the_solver(method: str) -> None:
    M = separated(N, (3,)).float().cuda().requires_grad_()

    def work() -> None:
        torch.autograd.grad(_loss_of_whitening(method, few(method))(M), M)

    assert waits(work) <= waits(lambda: _library(M))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n", [N, 40])
@pytest.mark.parametrize("method", ["newton-schulz", "eigh", "hybrid", "spectral"])
def test_captured_in_a_graph(method: str, n: int, dtype: torch.dtype) -> None:
    """Value and gradient, of another matrix than the one that it was captured with."""
    M = symmetric(torch.linspace(1, 3, n, dtype=torch.float64).expand(3, n)).to("cuda", dtype)
    M.requires_grad_()
    loss = _loss_of_whitening(method, few(method))

    def work() -> tuple[Tensor, Tensor]:
        value = loss(M)
        return value.detach(), torch.autograd.grad(value, M)[0]

    graph, found = captured(work)
    with torch.no_grad():
        M.mul_(torch.linspace(1, 2, 3, device="cuda", dtype=dtype)[:, None, None])
    graph.replay()
    for ours, theirs in zip(found, work(), strict=True):
        assert relative(ours.cpu(), theirs.cpu()) < 1e3 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((400, 400), torch.float32), ((40, 40), torch.float64), ((2, 200, 200), torch.float64)],
)
def test_one_call_prepares_for_a_graph(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Also of a size that torch itself decomposes outside of one, and in a new process."""
    gpu._solver.cache_clear()
    M = symmetric(torch.linspace(1, 3, shape[-1], dtype=torch.float64).expand(shape[:-1]))
    M = M.to("cuda", dtype)
    decompose(M)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values, _ = decompose(M)
    M.mul_(2)
    graph.replay()
    expected = 2 * torch.linspace(1, 3, shape[-1], dtype=torch.float64).expand(shape[:-1])
    assert relative(values.cpu(), expected) < 100 * torch.finfo(dtype).eps


def test_a_graph_says_nan_where_a_decomposition_did_not_converge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solve = gpu._Solver.decompose

    def failing(self: Any, matrices: Tensor, values: Tensor, info: Tensor) -> None:
        solve(self, matrices, values, info)
        info[1].fill_(1)  # a kernel; to assign a number copies from the host

    M = torch.eye(4, device="cuda").expand(3, 4, 4).clone()
    decompose(M)
    torch.cuda.synchronize()
    monkeypatch.setattr(gpu._Solver, "decompose", failing)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values, V = decompose(M)
    graph.replay()
    for found in (values, V.flatten(1)):
        assert found.isnan().all(-1).tolist() == [False, True, False]


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_long_batch_compiled() -> None:
    values = 1 + torch.rand(40_000, 4, generator=torch.Generator().manual_seed(7)).double()
    M = symmetric(values).float().cuda()

    def product(M: Tensor) -> Tensor:
        values, V = eigbench.eigh(M, method="hybrid")
        return V * values[..., None, :] @ V.mT

    assert relative(torch.compile(product, dynamic=False)(M).cpu(), M.cpu()) < 1e-5


@pytest.mark.parametrize("n", [N, 40])
def test_transforms_before_anything_was_decomposed(n: int) -> None:
    gpu._solver.cache_clear()
    M = symmetric(torch.linspace(1, 3, n, dtype=torch.float64).expand(3, n)).float().cuda()
    loss = _loss_of_whitening("spectral", {})
    assert relative(torch.func.grad(loss)(M).cpu(), _gradient(loss, M).cpu()) < 1e-6


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("method", ["hybrid", "spectral"])
def test_compiled(method: str, n: int) -> None:
    M = symmetric(torch.linspace(1, 3, n, dtype=torch.float64).expand(3, n)).float().cuda()
    loss = _loss_of_whitening(method, {})
    compiled = torch.compile(loss, dynamic=False)
    assert relative(_gradient(compiled, M).cpu(), _gradient(loss, M).cpu()) < 1e-4


@pytest.mark.parametrize("method", ALL)
def test_half_precision_and_autocast(method: str) -> None:
    if not takes(method, InverseSquareRoot()):
        pytest.skip("it whitens by another matrix")
    M = separated(N, (3,)).half().cuda().requires_grad_()
    with torch.autocast("cuda", torch.float16):
        S = eigbench.matrix_function(M, "inverse-square-root", method=method, **few(method))
    assert S.dtype == torch.float32  # as autocast has it of torch's own decompositions
    assert torch.autograd.grad(S.sum(), M)[0].dtype == torch.float16
