"""Layers for anybody's network that decompose the covariance of their input."""

from eigbench.layers.denoising import PCADenoising2d
from eigbench.layers.whitening import ZCAWhitening1d, ZCAWhitening2d

__all__ = ["PCADenoising2d", "ZCAWhitening1d", "ZCAWhitening2d"]
