"""Daleckii–Krein: exact at any gap, and an error wherever it would not be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

import eigbench
from tests.methods.matrices import relative, separated, symmetric, weights

GAPS = [0.3, 1e-3, 1e-6, 1e-9, 1e-12, 0.0]
NOT_OF_EIGENVECTORS = re.escape(
    "spectral has the exact gradient of functions of M, not of its eigenvectors: "
    "call eigbench.matrix_function, or choose another method"
)
NOT_TWICE = "spectral has no second derivative"


def whitening_gradient(M: Tensor, W: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    loss = (W * eigbench.matrix_function(X, "inverse-square-root")).sum()
    return torch.autograd.grad(loss, X)[0]


def literal(values: list[Any], W: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """M and the gradient of ⟨W, M^(−1/2)⟩, both in 60 digits and then rounded to float64.

    The basis is orthonormal to 60 digits too. The divided difference is taken as it is written:
    at a gap of 1e-12 it loses 12 of the 60 digits.
    """
    n = len(values)
    with mpmath.workdps(60):
        drawn = torch.randn(n, n, generator=torch.Generator().manual_seed(seed)).tolist()
        V, _ = mpmath.qr(mpmath.matrix(drawn))
        M = V * mpmath.diag(values) * V.T
        core = V.T * mpmath.matrix(W.tolist()) * V
        for i, a in enumerate(values):
            for j, b in enumerate(values):
                tie = -(mpmath.mpf(a) ** -1.5) / 2
                rise = 1 / mpmath.sqrt(a) - 1 / mpmath.sqrt(b)
                core[i, j] *= tie if a == b else rise / (a - b)
        G = V * core * V.T
        rounded = [[[float(X[i, j]) for j in range(n)] for i in range(n)] for X in (M, G)]
    return torch.tensor(rounded[0], dtype=torch.float64), torch.tensor(
        rounded[1], dtype=torch.float64
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("gap", GAPS)
def test_exact_at_any_gap(gap: float, seed: int) -> None:
    W = weights(torch.empty(5, 5, dtype=torch.float64), seed)
    with mpmath.workdps(60):
        values = [mpmath.mpf(x) for x in ("0.2", "0.5", "0.9", "1.4")]
        values.append(values[2] * (1 + mpmath.mpf(gap)))
    M, truth = literal(values, W, seed)
    # M itself is rounded: 2^-53, times a condition number of 7 and some.
    assert relative(whitening_gradient(M, W), truth) < 1e-14
    # The same matrix rounded to float32 is 6e-8 off.
    single = whitening_gradient(M.float(), W.float())
    assert relative(single, truth) < 1e-14 * 2**29


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1e-4, 0.37, 1.0, 1e6])
@pytest.mark.parametrize("n", [1, 4, 64])
def test_all_eigenvalues_equal(n: int, value: float, dtype: torch.dtype) -> None:
    M = value * torch.eye(n, dtype=dtype)
    W = weights(M)
    truth = -0.5 * float(M[0, 0]) ** -1.5 * W.double()
    assert relative(whitening_gradient(M, W), truth) < 8 * torch.finfo(dtype).eps


def test_all_equal_in_a_basis_that_is_not_the_axes() -> None:
    """A covariance of whitened data: ties but for rounding, which picks the eigenvectors."""
    M = symmetric(torch.full((8,), 0.7, dtype=torch.float64))
    truth = -0.5 * 0.7**-1.5 * weights(M)
    assert relative(whitening_gradient(M, weights(M)), truth) < 1e-14


def test_only_the_symmetric_part_of_the_cotangent_counts() -> None:
    M = separated(5)
    W = torch.arange(25.0, dtype=torch.float64).reshape(5, 5)
    found = whitening_gradient(M, W)
    assert relative(found, whitening_gradient(M, (W + W.T) / 2)) < 1e-14


@pytest.mark.parametrize("values", [(0.1, 0.4, 1.0), (0.3, 1.0, 1.0)])
def test_eigenvalues_have_their_gradient(values: tuple[float, ...]) -> None:
    """`V diag(g) Vᵀ`; in a tie it is exact for what gives equal weight to the tied ones."""
    M = symmetric(torch.tensor(values, dtype=torch.float64)).requires_grad_()
    found, V = eigbench.eigh(M, method="spectral")
    (G,) = torch.autograd.grad((found**2).sum(), M)  # Σλ² = ‖M‖²
    assert relative(G, 2 * M.detach()) < 1e-14
    assert V.requires_grad  # that is, the error below can be reached


def vector_loss(M: Tensor) -> Tensor:
    values, V = eigbench.eigh(M, method="spectral")
    return V[..., 0].sum() + values.sum()


def backward(loss: Callable[[Tensor], Tensor], M: Tensor) -> None:
    loss(M.clone().requires_grad_()).backward()  # type: ignore[no-untyped-call]


WAYS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "backward": backward,
    "func.grad": lambda loss, M: torch.func.grad(loss)(M[0]),
    "vmap": lambda loss, M: torch.func.vmap(torch.func.grad(loss))(M),
    "compile": lambda loss, M: backward(torch.compile(loss, backend="aot_eager"), M),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_of_eigenvectors_raises(way: str) -> None:
    torch.compiler.reset()
    with pytest.raises(NotImplementedError, match=NOT_OF_EIGENVECTORS):
        WAYS[way](vector_loss, separated(4, (2,)))


def test_eigenvectors_without_a_gradient_are_torch_s() -> None:
    M = separated(4, (2,))
    for found, torchs in zip(
        eigbench.eigh(M, method="spectral"), torch.linalg.eigh(M), strict=True
    ):
        assert torch.equal(found, torchs)
        assert not found.requires_grad


def twice_loss(M: Tensor) -> Tensor:
    """With a part that does have a second derivative, so that no error would mean a wrong one."""
    return eigbench.matrix_function(M, "inverse-square-root")[..., 0, :].sum() + (M**3).sum()


def _double_backward(M: Tensor) -> None:
    X = M.clone().requires_grad_()
    (G,) = torch.autograd.grad(twice_loss(X), X, create_graph=True)
    G.sum().backward()  # type: ignore[no-untyped-call]


def _hessian(M: Tensor) -> Any:
    hessian: Any = torch.autograd.functional.hessian
    return hessian(twice_loss, M)


TWICE: dict[str, Callable[[Tensor], Any]] = {
    "double backward": _double_backward,
    "hessian": _hessian,
    "jacrev of jacrev": torch.func.jacrev(torch.func.jacrev(twice_loss)),
    "grad of grad": torch.func.grad(lambda X: torch.func.grad(twice_loss)(X).sum()),
}


@pytest.mark.parametrize("way", TWICE)
def test_a_second_derivative_raises(way: str) -> None:
    with pytest.raises(NotImplementedError, match=NOT_TWICE):
        TWICE[way](separated(3))


def test_a_compiled_second_derivative_raises() -> None:
    torch.compiler.reset()
    X = separated(3).requires_grad_()
    loss = torch.compile(twice_loss, backend="aot_eager")(X)
    (G,) = torch.autograd.grad(loss, X, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(G.sum(), X)


def test_forward_mode_raises() -> None:
    M = separated(3)
    for loss in (twice_loss, vector_loss):
        with pytest.raises(NotImplementedError, match="jvp"):
            torch.func.jvp(loss, (M,), (M,))


def test_a_recorded_gradient_is_the_same_gradient() -> None:
    """The guard against a second derivative changes no first one."""
    X = separated(4).requires_grad_()
    plain, recorded = (
        torch.autograd.grad(twice_loss(X), X, create_graph=create)[0] for create in (False, True)
    )
    assert torch.equal(plain, recorded)
