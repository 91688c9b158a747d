"""`eigh` has torch's own gradient, bit for bit, and its second derivative and forward mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.measure.process import torch_threads
from eigbench.methods import decomposition
from tests.methods.matrices import relative, separated, symmetric

SHAPES: list[tuple[int, ...]] = [(), (5,), (2, 3)]
WHAT = ["both", "values", "vectors"]


@pytest.fixture(autouse=True, params=["whole", "by threads"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """By torch's own node, and by ours, which a batch has that is worth several threads."""
    with torch_threads(2):
        if request.param == "by threads":
            monkeypatch.setattr(decomposition, "WORTH", 1)
        yield


def ours(M: Tensor) -> tuple[Tensor, Tensor]:
    return eigbench.eigh(M, method="eigh")


def theirs(M: Tensor) -> tuple[Tensor, Tensor]:
    values, V = torch.linalg.eigh(M)
    return values, V


def loss_of(pairs: tuple[Tensor, Tensor], what: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    parts = [
        (torch.randn(x.shape, dtype=x.dtype, generator=generator) * x.sin()).sum() for x in pairs
    ]
    return sum(parts[:1] if what == "values" else parts[1:] if what == "vectors" else parts,
               torch.zeros((), dtype=parts[0].dtype))  # fmt: skip


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("batch", SHAPES, ids=str)
def test_the_gradient_is_that_of_torch(batch: tuple[int, ...], what: str) -> None:
    found: list[Tensor] = []
    for decompose in (ours, theirs):
        X = separated(7, batch).float().requires_grad_()
        found += torch.autograd.grad(loss_of(decompose(X), what), X)
    assert torch.equal(*found)


@pytest.mark.parametrize("what", WHAT)
def test_so_is_the_second(what: str) -> None:
    E = separated(5, (2,))
    found = []
    for decompose in (ours, theirs):
        X = separated(5, (2,)).requires_grad_()
        (G,) = torch.autograd.grad(loss_of(decompose(X), what), X, create_graph=True)
        (H,) = torch.autograd.grad((E * G).sum(), X)
        found.append((H + H.mT) / 2)
    assert relative(*found) < 1e-12


def test_so_is_forward_mode() -> None:
    mode: Any = torch.autograd.forward_ad
    M, E = separated(5, (2,)), separated(5, (2,)).flip(0)
    found = []
    for decompose in (ours, theirs):
        with mode.dual_level():
            pairs = decompose(mode.make_dual(M, E))
            found.append([mode.unpack_dual(x).tangent for x in pairs])
    for one, other in zip(*found, strict=True):
        assert relative(one, other) < 1e-12


def test_eigenvalues_of_a_tie_have_their_gradient() -> None:
    """Where nothing depends on the eigenvectors, 1/0 must not make 0 a NaN."""
    X = symmetric(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64)).requires_grad_()
    (found,) = torch.autograd.grad(ours(X)[0].square().sum(), X)
    assert relative(found, 2 * X.detach()) < 1e-14
