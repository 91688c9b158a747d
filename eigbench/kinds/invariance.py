"""Invariance: whether a gradient changes with what must not change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import msgspec

from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span
from eigbench.kinds.stability import STABILITY, StabilityCase


class InvarianceCase(MethodCase, tag="invariance", tag_field="kind", frozen=True, kw_only=True):
    """What must not change a gradient: neighbours in the batch, precision, number of threads."""

    method: str
    parameters: Parameters
    d: int
    spectrum: str
    gap: float | None
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str

    @property
    def stability(self) -> StabilityCase:
        """The stability case that asks the same problem."""
        return StabilityCase(**msgspec.structs.asdict(self), scale=1.0)

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """A value a matrix."""
        samples = (name for name in lengths if not name.startswith(":"))
        yield ("neighbour_change", "repeat_change", *samples), {self.seeds}


def _expand(span: Span) -> Iterator[InvarianceCase]:
    """The problems of stability cases at their own scale, asked something else."""
    names = InvarianceCase.__struct_fields__
    unscaled = dataclasses.replace(span, values={**span.values, "scale": [1.0]})
    for case in STABILITY.expand(unscaled):
        yield InvarianceCase(**{name: getattr(case, name) for name in names})


INVARIANCE = Kind(
    case=InvarianceCase,
    required=lambda values: STABILITY.required(values) - {"scale"},
    expand=_expand,
    measurer="eigbench.measure.invariance:measurer",
    part="eigbench.report.chapters.stability:part",
    comparison="eigbench.compare.rules:probes",
)
