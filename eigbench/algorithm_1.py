"""The settings of Algorithm 1 that the paper gives (Wang et al., NeurIPS 2019)."""

from __future__ import annotations

ITERATIONS = 19
"""K: power iterations, and terms of the series that replaces them backward (§2.4)."""

EPSILON = 1e-4
"""ε, which is added to the eigenvalues (§2.3, above Eq. 13)."""

RAYLEIGH_MISMATCH = 0.1
"""Line 3: an eigenvalue whose Rayleigh quotient is off by this share stops the algorithm."""

ENERGY_KEPT = 1 - 1e-4
"""Line 3: the share of the trace at which it stops."""

NEIGHBOUR_RATIO = 0.85
"""Mean ratio of neighbouring eigenvalues on CIFAR-10 (§2.4: 0.84 to 0.86)."""
