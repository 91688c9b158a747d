"""At both ends of floating point: where eigh gives eigenpairs, the gradient is finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import eigbench
from tests.methods.declared import those

SPECTRA = {
    "separated": (0.25, 0.5, 1.0),
    "close": (0.8, 0.9, 1.0),
    "tied": (1.0, 1.0, 1.0),
    "indefinite": (-0.8, 0.4, 0.8),
}

FINITE = [
    name
    for name in those(lambda subject: subject.has_pairs and "finite" in subject.method.promises)
    # Whose terms are not bounded, though their sum is, as its docstring says.
    if name != "hybrid-loop"
]


def gradient(M: Tensor, method: str) -> Tensor:
    """For cotangents of ones, except that A's antisymmetric part must not vanish."""
    X = M.clone().requires_grad_()
    values, V = eigbench.eigh(X, method=method)
    cotangent = torch.arange(1.0, V.numel() + 1).reshape(V.shape).to(V)
    found: Tensor = torch.autograd.grad((values, V), X, (torch.ones_like(values), cotangent))[0]
    return found


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("share", [1e-3, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", FINITE)
def test_finite_up_to_the_largest_number(
    method: str, dtype: torch.dtype, share: float, spectrum: tuple[float, ...]
) -> None:
    values = torch.tensor(spectrum, dtype=dtype) * (share * torch.finfo(dtype).max)
    assert torch.isfinite(torch.linalg.eigh(torch.diag(values)).eigenvectors).all()
    assert torch.isfinite(gradient(torch.diag(values), method)).all()


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("factor", [1e-6, 0.5, 1.0, 4.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["hybrid", "taylor"])
def test_finite_down_to_the_smallest_numbers(
    method: str, dtype: torch.dtype, factor: float, spectrum: tuple[float, ...]
) -> None:
    """Where K/λ would overflow the pairs pass no gradient, and below that λ is subnormal."""
    values = torch.tensor(spectrum, dtype=dtype) * (factor * torch.finfo(dtype).tiny)
    found = gradient(torch.diag(values), method)
    assert torch.isfinite(found).all()
    if factor <= 1:
        # Only the eigenvalues' own cotangents are left: the identity.
        assert torch.allclose(found, torch.eye(3, dtype=dtype), atol=1e-5)
