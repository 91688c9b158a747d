"""Methods that compute functions of M, and no eigenpairs on the way."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

from torch import Tensor

from eigbench.methods.base import Eigenpairs, Method, no_eigenpairs


class WithoutEigenpairs(Method, abc.ABC):
    """What such methods declare, and what they answer when they are asked for eigenpairs."""

    differentiates: ClassVar[Literal["eigenpairs", "functions"]] = "functions"
    decomposes: ClassVar[bool] = False
    truncation: ClassVar[str] = "none"

    def eigh(self, M: Tensor) -> Eigenpairs:  # noqa: ARG002
        """Raises `NotApplicable`: there are no eigenpairs."""
        raise no_eigenpairs(self)
