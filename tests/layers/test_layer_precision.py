"""`precision="float64"` of a layer: right on real features where float32 is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eigbench.data.mini import image_patches
from eigbench.errors import InputError
from eigbench.layers import PCADenoising2d, ZCAWhitening1d


def gradient(X: Tensor, precision: str, method: str) -> Tensor:
    layer = ZCAWhitening1d(64, method=method, precision=precision).to(X.dtype)
    X = X.clone().requires_grad_()
    Y = layer(X)
    weights = torch.randn(Y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (G,) = torch.autograd.grad((weights * Y).sum(), X)
    assert Y.dtype == G.dtype == X.dtype
    assert layer.latest is not None
    assert layer.latest.covariance.dtype == layer.latest.map.dtype == X.dtype
    return G.double()


@pytest.mark.parametrize("method", ["spectral", "hybrid"])
def test_64_pixels_of_real_patches(method: str) -> None:
    X = torch.from_numpy(image_patches(0))[:, :64]
    truth = gradient(X, "input", method)
    inside, outside = (
        (gradient(X.float(), precision, method) - truth).norm() / truth.norm()
        for precision in ("float64", "input")
    )
    assert inside < 2e-3
    assert outside > 4 * inside  # that is, the test could fail


def test_denoising_takes_it_too_and_says_so() -> None:
    layer = PCADenoising2d(4, components=2, method="spectral", precision="float64")
    assert "precision='float64'" in repr(layer)
    X = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    plain = PCADenoising2d(4, components=2, method="spectral")
    assert torch.allclose(layer(X), plain(X), atol=1e-5)
    with pytest.raises(InputError, match="precision must be 'input' or 'float64', not 'double'"):
        ZCAWhitening1d(4, precision="double")
