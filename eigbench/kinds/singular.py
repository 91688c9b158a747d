"""Singular: the gradient of a function of singular values, through one method, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span


class SingularCase(MethodCase, tag="singular", tag_field="kind", frozen=True, kw_only=True):
    """One method, one function of rectangular matrices, and one situation of their σ."""

    method: str
    parameters: Parameters
    function: str
    situation: str
    d: int
    """The smaller side of the matrices; the longer one of tall and wide ones has 2d."""
    dtype: str
    seeds: int
    seed: int
    device: str

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """A value a matrix."""
        yield ("gradient_finite", "gradient_error", *lengths), {self.seeds}


_AXES = ("d", "dtype", "function", "situation")


def _expand(span: Span) -> Iterator[SingularCase]:
    for point in span.runs_of_methods(*_AXES):
        yield SingularCase(**point, seeds=span.seeds)


SINGULAR = Kind(
    case=SingularCase,
    required=lambda _: {"method", "iterations", "start", *_AXES},
    expand=_expand,
    measurer="eigbench.measure.singular:measurer",
    part="eigbench.report.chapters.singular:part",
    comparison="eigbench.compare.rules:stability",
    may_differ=("device", "seeds"),
)
