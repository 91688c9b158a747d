"""Matrices and networks whose diagnosis is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import eigbench
from eigbench.diagnosis.advice import Recommendation
from eigbench.diagnosis.diagnose import Diagnosis
from eigbench.diagnosis.findings import MatrixFinding
from eigbench.spectra import Floats, random_orthogonal


def with_spectrum(*eigenvalues: float, seed: int = 0) -> Floats:
    """A matrix with these eigenvalues and a random basis, exactly symmetric."""
    V = random_orthogonal(len(eigenvalues), seed)
    M = (V * np.array(eigenvalues)) @ V.T
    symmetric: Floats = (M + M.T) / 2
    return symmetric


def finding(found: Diagnosis, words: str) -> MatrixFinding:
    """The one finding whose title has these words."""
    (one,) = [finding for finding in found.findings if words in finding.title]
    return one


def kinds(found: Diagnosis) -> list[str]:
    """The kinds of the findings, the worst first."""
    return [finding.kind for finding in found.findings]


def advice(found: Diagnosis, use: str) -> Recommendation:
    """What is recommended for a use."""
    (one,) = [advice for advice in found.recommendations if advice.use == use]
    return one


def advised(found: Diagnosis, use: str) -> str:
    """The method that is recommended for a use; empty if there is none."""
    return advice(found, use).method


def gradient_of(one: Recommendation, M: Tensor, loss: Callable[..., Tensor]) -> Tensor:
    """The gradient by M `(n, n)`, of a loss of what the lines of an advice compute."""
    X = M.clone().requires_grad_()
    names: dict[str, Any] = {"M": X, "torch": torch, "eigbench": eigbench}
    exec(one.code, names)  # noqa: S102 - as a user would paste it
    value = loss(*(names[name] for name in one.result.split(", ")))
    return torch.autograd.grad(value, X)[0]


def covariance(samples: int, channels: int, seed: int, mean: float = 0.0) -> Tensor:
    """Of centred normal data, in float32."""
    x = torch.randn(samples, channels, generator=torch.Generator().manual_seed(seed)) + mean
    x = x - x.mean(0)
    return x.T @ x / (samples - 1)


def upstream(M: Tensor, loss: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The gradients of a loss of torch's eigenpairs of M, as they reach the decomposition."""
    pairs = [one.requires_grad_() for one in torch.linalg.eigh(M.detach())]
    gradients = torch.autograd.grad(loss(*pairs), pairs, allow_unused=True)
    names = ("eigenvalues", "eigenvectors")
    # None, whatever torch declares, of an output that the loss does not see.
    some: list[Tensor | None] = list(gradients)
    return {name: g for name, g in zip(names, some, strict=True) if g is not None}


class Whitening(nn.Module):
    """`M^(−1/2)` through the eigenvectors, as everybody writes it."""

    def forward(self, M: Tensor) -> Tensor:
        """`(..., n, n)`."""
        values, V = torch.linalg.eigh(M)
        whitening: Tensor = (V * values[..., None, :] ** -0.5) @ V.mT
        return whitening


class Network(nn.Module):
    """Whitens `I + k·PPᵀ`: at k = 0 all eigenvalues tie."""

    def __init__(self) -> None:
        super().__init__()
        self.zca = Whitening()
        self.P = nn.Parameter(torch.tensor(with_spectrum(1, 2, 3, 4), dtype=torch.float32))

    def forward(self, k: float) -> Tensor:
        """`(2, 4, 4)`, the first well conditioned, the second at the tie where k is 0."""
        well = torch.diag(torch.arange(1.0, 5.0))
        output: Tensor = self.zca(torch.stack([well, torch.eye(4) + k * (self.P @ self.P.mT)]))
        return output


def train(network: Network, steps: int, tie: int | None, loss: Any = None) -> None:
    """SGD on a loss that depends on the whole of the output; the tie is at that step."""
    weights = torch.tensor(np.random.default_rng(1).standard_normal((4, 4)), dtype=torch.float32)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    for step in range(steps):
        optimiser.zero_grad()
        output = network(0.0 if step == tie else 1.0)
        value = (weights * output).sum() if loss is None else loss(output)
        value.backward()
        optimiser.step()
