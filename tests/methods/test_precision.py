"""float64 inside: float32 in and out, and nothing lost but what rounding M loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.data.mini import image_patches
from eigbench.methods.functions import OnRange, SquareRoot
from eigbench.methods.smooth import Smooth
from tests.methods.matrices import relative, symmetric, weights


def covariances(d: int) -> Tensor:
    """Of all groups of d pixels of the patches of one batch: `(192 / d, d, d)` float64."""
    X = image_patches(0)
    groups = (X - X.mean(0)).reshape(len(X), -1, d).transpose(1, 2, 0)
    M = groups @ groups.transpose(0, 2, 1) / len(X)
    return torch.from_numpy(M + 1e-4 * np.eye(d))


def gradient(M: Tensor, precision: str = "input") -> Tensor:
    X = M.clone().requires_grad_()
    S = eigbench.matrix_function(X, "inverse-square-root", precision=precision)
    assert S.dtype == M.dtype
    return torch.autograd.grad((weights(M) * S).sum(), X)[0]


@pytest.mark.parametrize("d", [16, 32, 64])
def test_right_to_1_percent_on_all_real_covariances(d: int) -> None:
    M = covariances(d)
    truth = gradient(M)
    found = gradient(M.float(), "float64")
    X = M.float().requires_grad_()
    S = eigbench.matrix_function(X, "inverse-square-root")
    assert torch.equal(torch.autograd.grad((weights(X) * S).sum(), X)[0], found)  # the default
    for X, Y in zip(found, truth, strict=True):
        assert X.dtype == torch.float32
        assert relative(X, Y) < 1e-3
    if d == 64:  # that is, the test could fail
        assert all(relative(X, Y) > 1e-2 for X, Y in zip(gradient(M.float()), truth, strict=True))


def test_zero_but_for_rounding_is_that_of_the_given_dtype() -> None:
    """A float32 covariance of rank 3 has eigenvalues of −1e-8, which float64 would see."""
    X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    M = X.T @ X
    assert torch.linalg.eigvalsh(M.double())[0] < -1e-9
    entropy = Smooth(torch.special.entr, lambda x: -x.log() - 1)
    for function in ("square-root", entropy, OnRange(SquareRoot()), OnRange(SquareRoot(), 3)):
        inside = eigbench.matrix_function(M, function, precision="float64")
        assert torch.allclose(
            inside, eigbench.matrix_function(M, function, precision="input"), atol=1e-3
        )
    rank = eigbench.matrix_function(M, "square-root", rank="numerical", precision="float64")
    assert torch.linalg.matrix_rank(rank, atol=1e-2) == 3
    assert torch.allclose(rank @ rank, M, atol=1e-5)


def test_other_dtypes_and_methods() -> None:
    M = symmetric(torch.tensor([0.2, 0.9, 1.5]))
    for dtype, out in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        found = eigbench.matrix_function(M.to(dtype), "logarithm", precision="float64")
        assert found.dtype == out
    rotated = M * torch.tensor(1 + 0j)
    assert eigbench.matrix_function(rotated, "logarithm", precision="float64").dtype == (
        torch.complex64
    )
    for method in ("eigh", "hybrid", "newton-schulz"):
        found = eigbench.matrix_function(M, "square-root", method=method, precision="float64")
        assert found.dtype == torch.float32
    with torch.autocast("cpu"):
        inside = eigbench.matrix_function(M, "logarithm", precision="float64")
    assert torch.equal(inside, eigbench.matrix_function(M, "logarithm", precision="float64"))
    with pytest.raises(ValueError, match="precision must be 'float64' or 'input', not 'double'"):
        eigbench.matrix_function(M, "logarithm", precision="double")
