"""Series: the geometric series of the paper, at one ratio of eigenvalues. It is about no method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eigbench.kinds.base import CaseBase, Counts, Kind, Span

FIGURE_1_POWERS = (1, 2, 4, 6, 8, 10, 14, 19, 24, 29, 40, 60, 80, 100)
"""The powers k at which a series case holds qᵏ, in the order of its record."""

COEFFICIENT_TERMS = (1, 2, 4, 9, 14, 19, 29, 100, 1000)
"""The K at which a series case holds errors of the sum, in the order of its record."""


class SeriesCase(CaseBase, tag="series", tag_field="kind", frozen=True, kw_only=True):
    """The geometric series at one ratio of eigenvalues (Table 1 and Figure 1 of the paper)."""

    ratio: float
    threshold: float
    dtype: str

    always_finite = True

    def counts(self, lengths: Mapping[str, int]) -> Counts:  # noqa: ARG002
        """The powers and the sums of the paper."""
        yield ("least_terms",), {1}
        yield ("powers",), {len(FIGURE_1_POWERS)}
        yield ("coefficient_error", "sum_rounding_error"), {len(COEFFICIENT_TERMS)}


def _expand(span: Span) -> Iterator[SeriesCase]:
    for point in span.points("ratio", "dtype"):
        yield SeriesCase(**point, threshold=span.threshold)


SERIES = Kind(
    case=SeriesCase,
    required=lambda _: {"ratio", "dtype"},
    expand=_expand,
    measurer="eigbench.measure.series:measurer",
    part="eigbench.report.chapters.stability:part",
    comparison="eigbench.compare.rules:series",
    may_differ=(),
    takes_options=False,  # its ratios are those of the paper's table
)
