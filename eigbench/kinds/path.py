"""Path: the gradient while two eigenvalues come together, cross, and part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from eigbench.kinds.base import Kind, MethodCase, Parameters, Span, Tools, Values

if TYPE_CHECKING:
    from eigbench.measure.measurement import Measurement


class PathCase(MethodCase, tag="path", tag_field="kind", frozen=True, kw_only=True):
    """The gradient along a path of matrices on which two eigenvalues cross."""

    method: str
    parameters: Parameters
    d: int
    dtype: str
    epsilon: float
    loss: str
    seed: int
    device: str


def _required(_values: Values) -> frozenset[str]:
    return frozenset({"method", "d", "dtype", "epsilon", "iterations", "loss", "start"})


def _expand(span: Span) -> Iterator[PathCase]:
    names = ("d", "dtype", "epsilon", "loss", "iterations", "start", "method")
    for d, dtype, epsilon, loss, iterations, start, method in itertools.product(
        *(span.values[name] for name in names)
    ):
        yield PathCase(
            method=method,
            parameters=span.accepted_parameters(method, iterations=iterations, seed=start),
            d=d,
            dtype=dtype,
            epsilon=epsilon,
            loss=loss,
            seed=span.seed,
            device=span.device,
        )


def _measurer(_tools: Tools) -> Callable[[PathCase], Measurement]:
    from eigbench.measure.invariance import measure_path

    return measure_path


PATH = Kind(case=PathCase, required=_required, expand=_expand, measurer=_measurer)
