"""Where there is no gradient there is an error: of eigenvectors, and a second time."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods.functions import SpectralFunction
from tests.methods.declared import WITHOUT_VECTORS
from tests.methods.matrices import relative, separated, symmetric

# Of eigenvectors


@pytest.mark.parametrize("values", [(0.1, 0.4, 1.0), (0.3, 1.0, 1.0)])
@pytest.mark.parametrize("method", WITHOUT_VECTORS)
def test_eigenvalues_have_their_gradient(method: str, values: tuple[float, ...]) -> None:
    """`V diag(g) Vᵀ`; in a tie it is exact for what gives equal weight to the tied ones."""
    M = symmetric(torch.tensor(values, dtype=torch.float64)).requires_grad_()
    found, V = eigbench.eigh(M, method=method)
    (G,) = torch.autograd.grad((found**2).sum(), M)  # Σλ² = ‖M‖²
    assert relative(G, 2 * M.detach()) < 1e-14
    assert V.requires_grad  # that is, the error below can be reached


def vector_loss(M: Tensor, method: str) -> Tensor:
    values, V = eigbench.eigh(M, method=method)
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
@pytest.mark.parametrize("method", WITHOUT_VECTORS)
def test_a_gradient_of_eigenvectors_raises(method: str, way: str) -> None:
    torch.compiler.reset()
    reason = (
        f"{method} has the gradient of functions of M, not of its eigenvectors: "
        "call eigbench.matrix_function, or choose another method"
    )
    with pytest.raises(NotImplementedError, match=re.escape(reason)):
        WAYS[way](partial(vector_loss, method=method), separated(4, (2,)))


@pytest.mark.parametrize("method", WITHOUT_VECTORS)
def test_eigenvectors_without_a_gradient_are_torch_s(method: str) -> None:
    M = separated(4, (2,))
    for found, torchs in zip(eigbench.eigh(M, method=method), torch.linalg.eigh(M), strict=True):
        assert torch.equal(found, torchs)
        assert not found.requires_grad


# A second time


class Cube(SpectralFunction):
    """A user's function, of which nobody knows divided differences of second order."""

    def values(self, eigenvalues: Tensor) -> Tensor:
        return eigenvalues**3

    def divided_differences(self, eigenvalues: Tensor) -> Tensor:
        row, column = eigenvalues[..., :, None], eigenvalues[..., None, :]
        return row**2 + row * column + column**2


def spectral_loss(M: Tensor) -> Tensor:
    """With a part that does have a second derivative, so that no error would mean a wrong one."""
    return eigbench.matrix_function(M, Cube())[..., 0, :].sum() + (M**3).sum()


def subspace_loss(M: Tensor) -> Tensor:
    """The same of a projector; its gradient depends on every eigenvector."""
    V = eigbench.eigh(M, method="subspace", leading=2)[1][..., -2:]
    return (V @ V.mT)[..., 0, :].sum() + (M**3).sum()


def trace_loss(M: Tensor) -> Tensor:
    """The same of eigenvalues alone, whose gradient is made of eigenvectors."""
    return eigbench.eigh(M, method="subspace")[0].pow(2).sum() + (M**3).sum()


ONCE = {"spectral": spectral_loss, "subspace": subspace_loss, "subspace, eigenvalues": trace_loss}


def _double_backward(loss: Callable[[Tensor], Tensor], M: Tensor) -> None:
    X = M.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
    G.sum().backward()  # type: ignore[no-untyped-call]


def _hessian(loss: Callable[[Tensor], Tensor], M: Tensor) -> Any:
    hessian: Any = torch.autograd.functional.hessian
    return hessian(loss, M)


TWICE: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "double backward": _double_backward,
    "hessian": _hessian,
    "jacrev of jacrev": lambda loss, M: torch.func.jacrev(torch.func.jacrev(loss))(M),
    "grad of grad": lambda loss, M: torch.func.grad(lambda X: torch.func.grad(loss)(X).sum())(M),
}


@pytest.mark.parametrize("way", TWICE)
@pytest.mark.parametrize("loss", ONCE)
def test_a_second_derivative_raises(loss: str, way: str) -> None:
    with pytest.raises(NotImplementedError, match="has no second derivative"):
        TWICE[way](ONCE[loss], separated(3))


@pytest.mark.parametrize("loss", ["spectral", "subspace"])
def test_a_compiled_second_derivative_raises(loss: str) -> None:
    torch.compiler.reset()
    X = separated(3).requires_grad_()
    compiled = torch.compile(ONCE[loss], backend="aot_eager")
    (G,) = torch.autograd.grad(compiled(X), X, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(G.sum(), X)


@pytest.mark.parametrize("loss", ONCE)
def test_a_recorded_gradient_is_the_same_gradient(loss: str) -> None:
    """The guard against a second derivative changes no first one."""
    X = separated(4).requires_grad_()
    plain, recorded = (
        torch.autograd.grad(ONCE[loss](X), X, create_graph=create)[0] for create in (False, True)
    )
    assert torch.equal(plain, recorded)
