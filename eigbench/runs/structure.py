"""What a suite is made of: axes, grids of them, and what all of its cases share."""

from __future__ import annotations

from typing import Literal

import msgspec

from eigbench.runs.profiling import Profiling
from eigbench.runs.training import Scale, Training

Kind = Literal["stability", "invariance", "path", "series", "train", "profile"]


class Axes(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values that each axis takes. An axis left out takes the suite's values."""

    method: list[str] | None = None
    d: list[int] | None = None
    spectrum: list[str] | None = None
    gap: list[float] | None = None
    scale: list[float] | None = None
    dtype: list[str] | None = None
    epsilon: list[float] | None = None
    iterations: list[int] | None = None
    loss: list[str] | None = None
    start: list[int] | None = None
    """Seeds of a method's own random numbers, such as power iteration's starts."""
    ratio: list[float] | None = None
    model: list[str] | None = None
    layer: list[str] | None = None
    components: list[int] | None = None
    energy: list[float] | None = None
    truncation: list[str] | None = None
    subject: list[str] | None = None
    batch: list[int] | None = None
    compiled: list[bool] | None = None


class Grid(Axes, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One cross product of axes."""

    about: str = ""
    kind: Kind | None = None
    """The suite's own, unless this grid asks something else."""
    seeds: int | None = None
    """Matrices per case or trials per cell, if not as many as the suite's."""
    trace: bool = False
    """Whether the profiles of this grid leave traces."""
    narrow: list[str] = []
    """Axes of which this grid needs few values: an option narrows them to those it names, and
    replaces them only where that leaves none."""
    only: list[str] = []
    """Axes whose other values would ask something else: an option narrows them too, and leaves the
    grid out where that leaves none."""


class Matrices(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The user's own matrices, as the resolved suite remembers them."""

    file: str
    sha256: str
    count: dict[str, int]
    """How many there are of each size."""


class Suite(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Resolved, it is the whole description: the same suite gives the same cases."""

    name: str
    kind: Kind
    title: str = ""
    seeds: int = 8
    seed: int = 0
    device: str = "cpu"
    threshold: float = 0.05
    parameters: dict[str, int | float | bool] = {}
    """Values of methods' own parameters, for every method that has them."""
    axes: Axes = msgspec.field(default_factory=Axes)
    grids: list[Grid] = []
    matrices: Matrices | None = None
    training: Training | None = None
    profiling: Profiling = msgspec.field(default_factory=Profiling)
    compare: str = ""
    """What a training suite repeats of the paper, such as "figure-2", or "table-2 table-5"."""
    bundle: bool = False
    """Whether pictures and traces end up in one file each, for where few files come back."""
    scale: str = ""
    """The scale that was applied; a suite with `scales` and none applied is at its own."""
    scales: dict[str, Scale] = {}
