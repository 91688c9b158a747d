"""Stability: the gradient through one method, on one family of matrices, beside the exact one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from eigbench.kinds.base import Kind, MethodCase, Parameters, Span, Tools, Values

if TYPE_CHECKING:
    from eigbench.measure.measurement import Measurement

FILE_SPECTRUM = "file"
"""The spectrum of the user's own matrices, which come from a file instead of a family."""


class StabilityCase(MethodCase, tag="stability", tag_field="kind", frozen=True, kw_only=True):
    """One method on one family of matrices, differentiated for a batch of seeds."""

    method: str
    parameters: Parameters
    d: int
    spectrum: str
    gap: float | None
    """Relative eigengap; None where the spectrum has none to choose."""
    scale: float
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str
    matrices: str | None = None
    """For the user's own matrices: the start of the file's SHA-256."""


def _required(_values: Values) -> frozenset[str]:
    return frozenset(
        {"method", "d", "spectrum", "gap", "scale", "dtype"}
        | {"epsilon", "iterations", "loss", "start"}
    )


def expand(span: Span) -> Iterator[StabilityCase]:
    """Every family, size and setting; the method varies fastest.

    So a run that is cut short has compared the methods on the same cases.
    """
    names = ("dtype", "epsilon", "scale", "loss", "gap", "iterations", "start", "method")
    for (spectrum, d, seeds), *point in itertools.product(
        _families(span), *(span.values[name] for name in names)
    ):
        dtype, epsilon, scale, loss, gap, iterations, start, method = point
        yield StabilityCase(
            method=method,
            parameters=span.accepted_parameters(method, iterations=iterations, seed=start),
            d=d,
            spectrum=spectrum,
            gap=gap if _takes_gap(spectrum) else None,
            scale=scale,
            dtype=dtype,
            epsilon=epsilon,
            loss=loss,
            seeds=seeds,
            seed=span.seed,
            device=span.device,
            matrices=span.matrices.sha256[:16] if span.matrices else None,
        )


def _families(span: Span) -> list[tuple[str, int, int]]:
    """Spectrum, d and number of matrices: the suite's own, or those of the user's file."""
    if span.matrices is None:
        return [(s, d, span.seeds) for s in span.values["spectrum"] for d in span.values["d"]]
    return [(FILE_SPECTRUM, int(d), count) for d, count in span.matrices.count.items()]


def _takes_gap(spectrum: str) -> bool:
    from eigbench.spectra import SPECTRA  # late: NumPy

    return spectrum in SPECTRA and SPECTRA[spectrum].uses_gap


def _measurer(tools: Tools) -> Callable[[StabilityCase], Measurement]:
    from eigbench.measure.stability import measure_stability

    user = tools.user_matrices
    return lambda case: measure_stability(case, user)


STABILITY = Kind(case=StabilityCase, required=_required, expand=expand, measurer=_measurer)
