"""The default compiler backend, which fuses and generates code, unlike the one of the contract."""

from __future__ import annotations

import torch

import eigbench
from tests.methods.matrices import gradient, loss_of, relative, separated


def test_default_backend_gives_the_eager_gradient() -> None:
    torch.compiler.reset()
    M = separated(5, (3,)).requires_grad_()
    loss = torch.compile(loss_of(eigbench.eigh, 5), fullgraph=True)
    (found,) = torch.autograd.grad(loss(M), M)
    # The same operations, fused: a few roundings apart.
    assert relative(found, gradient(eigbench.eigh, M.detach())) < 1e-13
