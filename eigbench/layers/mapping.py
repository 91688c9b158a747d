"""From the covariance of a group to the linear map that a layer applies to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Mapped(NamedTuple):
    """What a layer makes of the covariances of its G groups of d channels.

    `linear` `(G, d, d)` is applied to the centred channels. `matrix` `(G, d, d)` is what was
    decomposed, εI included, and `rank` `(G,)` the number of its eigenpairs that were kept.
    """

    linear: Tensor
    matrix: Tensor
    rank: Tensor


Rule = Callable[[Tensor], Mapped]
"""A layer's map from covariances `(G, d, d)`, differentiable by its method's own gradient."""
