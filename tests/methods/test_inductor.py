"""The default compiler backend, which fuses and generates code, unlike the one of the contract."""

from __future__ import annotations

import torch
from torch import Tensor

import eigbench
from tests.methods.matrices import gradient, invariant_loss, relative, separated


def test_default_backend_gives_the_eager_gradient() -> None:
    torch.compiler.reset()
    M = separated(5, (3,)).requires_grad_()

    @torch.compile(fullgraph=True)
    def loss(X: Tensor) -> Tensor:
        return invariant_loss(eigbench.eigh, X)

    (found,) = torch.autograd.grad(loss(M), M)
    # The same operations, fused: a few roundings apart.
    assert relative(found, gradient(eigbench.eigh, M.detach())) < 1e-13
