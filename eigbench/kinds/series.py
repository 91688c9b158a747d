"""Series: the geometric series of the paper, at one ratio of eigenvalues. It is about no method."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from eigbench.kinds.base import CaseBase, Kind, Span, Tools, Values

if TYPE_CHECKING:
    from eigbench.measure.measurement import Measurement

FIGURE_1_POWERS = (1, 2, 4, 6, 8, 10, 14, 19, 24, 29, 40, 60, 80, 100)
"""The powers k at which a series case holds qᵏ, in the order of its record."""

COEFFICIENT_TERMS = (1, 2, 4, 9, 14, 19, 29, 100, 1000)
"""The K at which a series case holds errors of the sum, in the order of its record."""


class SeriesCase(CaseBase, tag="series", tag_field="kind", frozen=True, kw_only=True):
    """The geometric series at one ratio of eigenvalues (Table 1 and Figure 1 of the paper)."""

    ratio: float
    threshold: float
    dtype: str


def _required(_values: Values) -> frozenset[str]:
    return frozenset({"ratio", "dtype"})


def _expand(span: Span) -> Iterator[SeriesCase]:
    for ratio, dtype in itertools.product(span.values["ratio"], span.values["dtype"]):
        yield SeriesCase(ratio=ratio, threshold=span.threshold, dtype=dtype)


def _measurer(_tools: Tools) -> Callable[[SeriesCase], Measurement]:
    from eigbench.measure.series import measure_series

    return measure_series


SERIES = Kind(
    case=SeriesCase,
    required=_required,
    expand=_expand,
    measurer=_measurer,
    takes_options=False,  # its ratios are those of the paper's table
)
