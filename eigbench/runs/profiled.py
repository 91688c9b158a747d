"""A suite of profiles, as a command line changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from eigbench.errors import InputError
from eigbench.runs.profiling import Profiling
from eigbench.runs.structure import Grid, Suite


def with_profiling(suite: Suite, changes: Mapping[str, Any]) -> Suite:
    """The suite with some of its settings changed; `InputError` for a wrong one."""
    try:
        profiling = msgspec.convert({**msgspec.to_builtins(suite.profiling), **changes}, Profiling)
    except msgspec.ValidationError as error:
        raise InputError(f"profiling: {error}") from error
    return msgspec.structs.replace(suite, profiling=profiling)


def about(suite: Suite, wanted: Mapping[str, list[Any] | None]) -> Suite:
    """Those of its grids that are about some subjects or layers; `InputError` if none is.

    A grid without an axis, as an operation is without a layer, is left out if one is wanted.
    """
    grids = suite.grids
    for name, values in wanted.items():
        if values is not None:
            kept = [grid for grid in grids if set(getattr(grid, name) or ()) & set(values)]
            grids = [_restricted(grid, name, values) for grid in kept]
    if not grids:
        asked = "; ".join(f"--{n} {' '.join(map(str, v))}" for n, v in wanted.items() if v)
        there = "; ".join(f"--{n} {', '.join(_named(suite.grids, n))}" for n in wanted)
        raise InputError(
            f"{asked}: the suite {suite.name!r} has nothing about that; it has {there}"
        )
    return msgspec.structs.replace(suite, grids=grids)


def _named(grids: list[Grid], name: str) -> list[str]:
    """The values that an axis takes in any grid, each once."""
    return list(dict.fromkeys(str(value) for grid in grids for value in getattr(grid, name) or ()))


def _restricted(grid: Grid, name: str, values: list[Any]) -> Grid:
    kept = [value for value in getattr(grid, name) if value in values]
    return msgspec.structs.replace(grid, **{name: kept})


def with_traces(suite: Suite, *, wanted: bool | None) -> Suite:
    """The suite with traces of all of its profiles, or of none, or of those that it says."""
    if wanted is None:
        return suite
    grids = [msgspec.structs.replace(grid, trace=wanted) for grid in suite.grids]
    return msgspec.structs.replace(suite, grids=grids)
