"""Many gradients at once: batched cotangents give what one cotangent after the other gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods.functions import Whitening
from tests.methods.declared import DECOMPOSING, WHITENING, WITH_PAIRS, few
from tests.methods.matrices import separated

Function = Callable[[Tensor], Tensor]


def _at_once(function: Function, M: Tensor) -> Tensor:
    """By torch's older vmap, whose transforms a method does not see."""
    jacobian: Any = torch.autograd.functional.jacobian
    found: Tensor = jacobian(function, M, vectorize=True)
    return found


WAYS: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "jacrev": lambda function, M: torch.func.jacrev(function)(M),
    "batched cotangents": _at_once,
}


def one_by_one(function: Function, M: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    outputs = function(X).flatten()
    rows = [torch.autograd.grad(one, X, retain_graph=True)[0] for one in outputs]
    return torch.stack(rows)


def require_alike(function: Function, way: str) -> None:
    M = separated(4)
    found = WAYS[way](function, M).reshape(-1, 4, 4)
    torch.testing.assert_close(found, one_by_one(function, M), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", DECOMPOSING)
def test_jacobians_of_eigenvalues(method: str, way: str) -> None:
    require_alike(lambda M: eigbench.eigh(M, method=method, **few(method)).eigenvalues, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", WITH_PAIRS)
def test_jacobians_of_eigenvectors(method: str, way: str) -> None:
    require_alike(lambda M: eigbench.eigh(M, method=method, **few(method)).eigenvectors, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", WHITENING)
def test_jacobians_of_the_whitening(method: str, way: str) -> None:
    def whitening(M: Tensor) -> Tensor:
        return eigbench.matrix_function(M, Whitening(), method=method, **few(method))

    require_alike(whitening, way)
