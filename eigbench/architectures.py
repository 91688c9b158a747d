"""The networks that can be trained: names and sizes, known without importing torch."""

from __future__ import annotations

STEM_CHANNELS = 64
"""Channels after the first convolution, which the layer sees, whatever the width (§3)."""

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
"""Residual blocks in each of the four stages (K. He et al., 2016, Table 1)."""

MODELS = tuple(BLOCKS)
