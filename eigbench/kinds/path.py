"""Path: the gradient while two eigenvalues come together, cross, and part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span


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

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """A value a position, and a move between two."""
        positions = lengths.get("position", 0)
        metrics = ("position", "gradient_finite", "gradient_error", "crossing_ratio")
        yield metrics, {max(positions, 2)}
        yield ("moved", "exact_moved"), {positions - 1}


def _expand(span: Span) -> Iterator[PathCase]:
    for point in span.runs_of_methods("d", "dtype", "epsilon", "loss"):
        yield PathCase(**point)


PATH = Kind(
    case=PathCase,
    required=lambda _: {"method", "d", "dtype", "epsilon", "iterations", "loss", "start"},
    expand=_expand,
    measurer="eigbench.measure.invariance:path_measurer",
    part="eigbench.report.chapters.stability:part",
    comparison="eigbench.compare.rules:probes",
)
