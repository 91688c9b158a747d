"""On a GPU a method makes the host wait for nothing but what its decomposition itself asks for.

That is: the solver's own check for success, of `torch.linalg.eigh`, `svd` and `cholesky`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

import eigbench
from eigbench.methods.functions import (
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    SquareRoot,
    Truncated,
    Whitening,
)
from tests.methods.declared import ALL, DECOMPOSING, WITH_PAIRS, few, takes
from tests.methods.waiting import DEVICE, Waits, no_waiting

WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool((x > 0).all()),
    "int": lambda x: int(x.sum()),
    "list": lambda x: x.tolist(),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(3, device="cpu").to(x.device),
    "into": lambda x: x.copy_(torch.ones(3, device="cpu")),
    "list to tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "mask": lambda x: x[x > 0],
    "nonzero": torch.nonzero,
    "masked select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x),
    "close": lambda x: torch.allclose(x, x),
    "solve": lambda x: torch.linalg.solve(x.diag(), x),
    "invert": lambda x: torch.linalg.inv(x.diag()),
    "to the host, unawaited": lambda x: x.to("cpu", non_blocking=True),
}


@pytest.mark.parametrize("device", [DEVICE, "cuda"])
@pytest.mark.parametrize("way", WAITING)
def test_waiting_is_seen(way: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = (Waits, DataDependentOutputException, DynamicOutputShapeException)
    with no_waiting(device, monkeypatch), pytest.raises(refused):
        WAITING[way](torch.empty(3))


@pytest.mark.parametrize("method", DECOMPOSING)
def test_eigenpairs_without_waiting(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_waiting(DEVICE, monkeypatch):
        M = torch.empty(3, 5, 5).requires_grad_()
        values, V = eigbench.eigh(M, method=method, **few(method))
        # Where the eigenvectors have no gradient they raise.
        loss = values.sum() + V.sum() if method in WITH_PAIRS else values.sum()
        assert torch.autograd.grad(loss, M)


def _functions(method: str) -> list[SpectralFunction]:
    """Those that the method does not refuse."""
    some = torch.empty(3, 5)
    roots = [Whitening(), InverseSquareRoot(), SquareRoot()]
    functions = [*roots, Projector(some), Truncated(InverseSquareRoot(), some)]
    return [function for function in functions if takes(method, function)]


@pytest.mark.parametrize("method", ALL)
def test_functions_without_waiting(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_waiting(DEVICE, monkeypatch):
        for function in _functions(method):
            M = torch.empty(3, 5, 5).requires_grad_()
            found = eigbench.matrix_function(M, function, method=method, **few(method))
            assert torch.autograd.grad(found.sum(), M)


@pytest.mark.parametrize("method", ALL)
def test_forward_on_cuda_without_waiting(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the name of the device: without a driver autograd does not go backward."""
    with no_waiting("cuda", monkeypatch):
        M = torch.empty(3, 5, 5).requires_grad_()
        if method in DECOMPOSING:
            eigbench.eigh(M, method=method, **few(method))
        for function in _functions(method):
            eigbench.matrix_function(M, function, method=method, **few(method))
