"""How numbers are written."""

from __future__ import annotations

import math

import pytest

from eigbench.report.markdown import percent, scientific, table


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.9999, ">99.9 %"), (0.0, "0 %"), (1e-5, "<0.1 %"), (0.467, "46.7 %"),
     (0.5, "50 %"), (math.nan, "–")],
)  # fmt: skip
def test_all_and_none_are_said_only_when_they_are(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.234e-7, "1.2e-07"), (0.0123, "0.012"), (12.3, "12"), (321.4, "321"),
     (3214.0, "3.2e+03"), (math.inf, "not finite"), (math.nan, "–"), (-1.49, "-1.5")],
)  # fmt: skip
def test_two_digits(value: float, text: str) -> None:
    assert scientific(value) == text


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    lines = table(["a", "b", "c"], [["x", "1.5 %", "word"], ["y", "not finite", "–"]]).splitlines()
    assert lines[1].split("|")[1:-1] == [":----", "-----------:", ":-----"]
