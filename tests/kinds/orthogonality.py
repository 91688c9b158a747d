"""A kind of case in one file: how far the eigenvectors of a method are from orthonormal."""

from __future__ import annotations

from collections.abc import Iterator

from eigbench.compare.model import Effect
from eigbench.compare.rules import Context, error
from eigbench.kinds.base import Kind, Measure, MethodCase, Parameters, Span, Tools
from eigbench.report.frame import Frames
from eigbench.report.render import Part, pivot
from eigbench.runs.record import Record

ERROR = error("orthogonality error")


class OrthogonalityCase(MethodCase, tag="orthogonality", tag_field="kind", frozen=True):
    """One method on matrices of one size."""

    method: str
    parameters: Parameters
    d: int
    seeds: int
    seed: int


def _expand(span: Span) -> Iterator[OrthogonalityCase]:
    for point in span.points("d", "method"):
        parameters = span.accepted_parameters(point["method"])
        yield OrthogonalityCase(**point, parameters=parameters, seeds=span.seeds, seed=span.seed)


def measurer(_tools: Tools) -> Measure:
    import torch

    import eigbench
    from eigbench.measure.measurement import Measurement

    def measure(case: OrthogonalityCase) -> Measurement:
        found = []
        for seed in range(case.seed, case.seed + case.seeds):
            X = torch.randn(case.d, case.d, generator=torch.Generator().manual_seed(seed))
            _, V = eigbench.eigh(X @ X.mT, method=case.method)
            found.append(float((V.mT @ V - torch.eye(case.d)).abs().max()))
        return Measurement({"orthogonality_error": found}, {})

    return measure


def part(frames: Frames) -> Part | None:
    """The largest error by method and size."""
    import polars as pl

    frame = frames.tidy(OrthogonalityCase, "measured")
    if frame.is_empty():
        return None
    largest = pivot(frame, ("method", "d"), pl.col("orthogonality_error").max())
    return Part("Orthogonality", largest, [], [f"{frame.height} matrices were decomposed."])


def compared(a: list[Record], b: list[Record], _context: Context) -> list[Effect]:
    """The largest error of each run."""
    ours, theirs = (max(one[0].values("orthogonality_error")) for one in (a, b))
    return [ERROR.exact(ours, theirs)]


ORTHOGONALITY = Kind(
    case=OrthogonalityCase,
    required=lambda _: {"d", "method"},
    expand=_expand,
    measurer="tests.kinds.orthogonality:measurer",
    part=f"{__name__}:part",
    comparison=f"{__name__}:compared",
    may_differ=("seeds",),
)
