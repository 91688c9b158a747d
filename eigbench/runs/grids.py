"""The cases that each kind of grid spans."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from eigbench.runs.case import (
    Case,
    InvarianceCase,
    Parameters,
    PathCase,
    SeriesCase,
    StabilityCase,
)
from eigbench.runs.profiling import profile_cases
from eigbench.runs.structure import Axes, Grid, Kind, Suite
from eigbench.runs.training import taken, train_cases

FILE_SPECTRUM = "file"
"""The spectrum of the user's own matrices, which come from a file instead of a family."""


REQUIRED: dict[Kind, frozenset[str]] = {
    "series": frozenset({"ratio", "dtype"}),
    "stability": frozenset(
        {"method", "d", "spectrum", "gap", "scale", "dtype"}
        | {"epsilon", "iterations", "loss", "start"}
    ),
    "invariance": frozenset(
        {"method", "d", "spectrum", "gap", "dtype", "epsilon", "iterations", "loss", "start"}
    ),
    "path": frozenset({"method", "d", "dtype", "epsilon", "iterations", "loss", "start"}),
    "train": frozenset({"model", "layer"}),
    "profile": frozenset({"subject", "batch", "dtype", "method", "iterations", "compiled"}),
}
"""The axes without which a grid of a kind has no cases."""


_DECOMPOSING = frozenset({"method", "epsilon", "iterations"})
_REQUIRED_BY_LAYER = {"zca": _DECOMPOSING | {"d"}, "pca": _DECOMPOSING}
"""What a grid of trainings needs besides, for the layers that decompose."""
_REQUIRED_BY_SUBJECT = {
    "operation": {"d"},
    "whitening": {"d"},
    "layer": {"layer", "d", "energy"},
    "step": {"layer", "d", "energy"},
}
"""What a grid of profiles needs besides."""


def required(kind: Kind, values: Mapping[str, Any]) -> frozenset[str]:
    """The axes without which a grid of these values has no cases."""
    names = REQUIRED[kind]
    if kind == "train":
        layers = values.get("layer", ())
        return names.union(*(_REQUIRED_BY_LAYER.get(layer, ()) for layer in layers))
    if kind == "profile":
        subjects = values.get("subject", ())
        return names.union(*(_REQUIRED_BY_SUBJECT.get(subject, ()) for subject in subjects))
    return names


def given(axes: Axes) -> dict[str, list[Any]]:
    """The axes that have values."""
    names = Axes.__struct_fields__
    return {name: getattr(axes, name) for name in names if getattr(axes, name) is not None}


def kind_of(suite: Suite, grid: Grid) -> Kind:
    """What a grid asks: its own kind, or the suite's."""
    return grid.kind or suite.kind


def seeds_of(suite: Suite, grid: Grid) -> int:
    """Matrices per case, or trials per cell: the grid's own, or the suite's."""
    return suite.seeds if grid.seeds is None else grid.seeds


def grid_cases(suite: Suite, grid: Grid) -> Iterator[Case]:
    """The cases of one grid, in order."""
    values: dict[str, Any] = {**given(suite.axes), **given(grid)}
    values["parameters"] = suite.parameters
    kind = kind_of(suite, grid)
    count = seeds_of(suite, grid)
    if kind == "series":
        yield from _series_cases(suite, values)
    elif kind == "invariance":
        yield from _invariance_cases(suite, values, count)
    elif kind == "path":
        yield from _path_cases(suite, values)
    elif kind == "stability":
        yield from _stability_cases(suite, values, count)
    elif kind == "profile":
        yield from profile_cases(
            suite.profiling, values, trace=grid.trace, seed=suite.seed, device=suite.device
        )
    elif suite.training is not None:
        seeds = range(suite.seed, suite.seed + count)
        yield from train_cases(suite.training, values, seeds, suite.device)


def _series_cases(suite: Suite, values: Mapping[str, Any]) -> Iterator[Case]:
    for ratio, dtype in itertools.product(values["ratio"], values["dtype"]):
        yield SeriesCase(ratio=ratio, threshold=suite.threshold, dtype=dtype)


def _stability_cases(suite: Suite, values: Mapping[str, Any], count: int) -> Iterator[Case]:
    # The method varies fastest, so that a partial run compares methods on the same cases.
    names = ("dtype", "epsilon", "scale", "loss", "gap", "iterations", "start", "method")
    for (spectrum, d, seeds), *point in itertools.product(
        _families(suite, values, count), *(values[name] for name in names)
    ):
        dtype, epsilon, scale, loss, gap, iterations, start, method = point
        yield StabilityCase(
            method=method,
            parameters=_parameters(values, method, iterations, start),
            d=d,
            spectrum=spectrum,
            gap=gap if _takes_gap(spectrum) else None,
            scale=scale,
            dtype=dtype,
            epsilon=epsilon,
            loss=loss,
            seeds=seeds,
            seed=suite.seed,
            device=suite.device,
            matrices=suite.matrices.sha256[:16] if suite.matrices else None,
        )


def _invariance_cases(suite: Suite, values: Mapping[str, Any], count: int) -> Iterator[Case]:
    """The problems of stability cases at their own scale, asked something else."""
    names = InvarianceCase.__struct_fields__
    for case in _stability_cases(suite, {**values, "scale": [1.0]}, count):
        yield InvarianceCase(**{name: getattr(case, name) for name in names})


def _path_cases(suite: Suite, values: Mapping[str, Any]) -> Iterator[Case]:
    names = ("d", "dtype", "epsilon", "loss", "iterations", "start", "method")
    for d, dtype, epsilon, loss, iterations, start, method in itertools.product(
        *(values[name] for name in names)
    ):
        yield PathCase(
            method=method,
            parameters=_parameters(values, method, iterations, start),
            d=d,
            dtype=dtype,
            epsilon=epsilon,
            loss=loss,
            seed=suite.seed,
            device=suite.device,
        )


def _parameters(values: Mapping[str, Any], method: str, iterations: int, start: int) -> Parameters:
    return taken(method, {"iterations": iterations, "seed": start, **values["parameters"]})


def _families(suite: Suite, values: Mapping[str, Any], seeds: int) -> list[tuple[str, int, int]]:
    """Spectrum, d and number of matrices: the suite's own, or those of the user's file."""
    if suite.matrices is None:
        return [(s, d, seeds) for s in values["spectrum"] for d in values["d"]]
    return [(FILE_SPECTRUM, int(d), count) for d, count in suite.matrices.count.items()]


def _takes_gap(spectrum: str) -> bool:
    from eigbench.spectra import SPECTRA  # late: NumPy

    return spectrum in SPECTRA and SPECTRA[spectrum].uses_gap
