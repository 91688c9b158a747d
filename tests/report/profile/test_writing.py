"""Numbers have the digits that their samples support."""

from __future__ import annotations

import math

import pytest

from eigbench.report.profile import writing
from eigbench.report.profile.estimates import Estimate

NAN = math.nan


@pytest.mark.parametrize(
    ("middle", "low", "high", "text"),
    [
        (1.2345, 1.2344, 1.2346, "1.23 (1.23–1.23)"),  # three digits at most
        (1.2345, 1.2345, 1.2345, "1.23 (1.23–1.23)"),
        (1.2345, 1.20, 1.26, "1.23 (1.20–1.26)"),
        (1.2345, 1.18, 1.27, "1.23 (1.18–1.27)"),
        (12.345, 11.9, 12.6, "12.3 (11.9–12.6)"),
        (1.2345, 1.0, 1.4, "≈1.2 (1.0–1.4)"),
        (1.2345, 0.2, 9.0, "≈1 (0–9)"),
        (104.8, 104.0, 105.0, "105 (104–105)"),
        (104.8, 80.0, 140.0, "≈100 (80–140)"),
        (1234.0, 1233.0, 1235.0, "1230 (1230–1240)"),
        (0.001234, 0.00123, 0.00124, "0.00123 (0.00123–0.00124)"),
        (1.2345, NAN, NAN, "≈1.2"),  # too few for an interval
    ],
)
def test_the_interval_decides(middle: float, low: float, high: float, text: str) -> None:
    assert writing.with_interval(Estimate(middle, low, high)) == text


@pytest.mark.parametrize(
    ("middle", "low", "high", "text"),
    [
        (0.3512, 0.31, 0.40, "+0.35 (+0.31 to +0.40)"),
        (-0.3512, -0.40, -0.31, "−0.35 (−0.40 to −0.31)"),
        (0.001, -0.05, 0.06, "0.00 (−0.05 to +0.06)"),
        (843.2, NAN, NAN, "≈+840"),
    ],
)
def test_a_difference_has_its_sign(middle: float, low: float, high: float, text: str) -> None:
    assert writing.difference(Estimate(middle, low, high)) == text


def test_nothing_is_nothing() -> None:
    assert writing.supported(None) == "–"
    assert writing.with_interval(None) == "–"
    assert writing.difference(None) == "–"
    assert writing.span([None]) == "–"
    assert writing.plain_span([NAN]) == "–"
    assert writing.count_span([]) == "–"
    assert writing.amount(NAN) == "–"
    assert writing.plain(math.inf) == "–"


def test_a_span_is_of_medians() -> None:
    some = [Estimate(2.0, 1.99, 2.01), None, Estimate(1.0, 0.99, 1.01), Estimate(3.0, 1.0, 5.0)]
    assert writing.span(some) == "1.00 to ≈3"
    assert writing.span(some[:1]) == "2.00"
    assert writing.plain_span([0.5, 0.25]) == "0.250 to 0.500"
    assert writing.count_span([5.0, 51.0]) == "5 to 51"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (80, "80 B"), (999, "999 B"), (1024, "1.0 KiB"), (10240, "10.0 KiB"),
     (150 * 1024, "150 KiB"), (3 * 2**20, "3.0 MiB"), (5 * 2**30, "5.0 GiB")],
)  # fmt: skip
def test_an_amount_has_the_unit_that_fits(size: float, text: str) -> None:
    assert writing.amount(size) == text


def test_operations_count_in_thousands() -> None:
    texts = [writing.operations(flops) for flops in (576, 36_864, 9.4e6, 4.8e9)]
    assert texts == ["576", "36.9 k", "9.4 M", "4.8 G"]
