"""Numbers, tables, templates, and the page: nothing of what they show is markup by accident."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from eigbench.report import numbers
from eigbench.report.render import both, details, escape, page, pivot, table
from eigbench.report.stats import Interval


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.9999, ">99 %"), (0.0, "0 %"), (1e-5, "<1 %"), (0.467, "47 %"),
     (math.nan, "–")],
)  # fmt: skip
def test_all_and_none_are_said_only_when_they_are(share: float, text: str) -> None:
    assert numbers.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.234e-7, "1.2e-07"), (0.0123, "0.012"), (12.3, "12"), (321.4, "321"),
     (3214.0, "3.2e+03"), (math.inf, "not finite"), (math.nan, "–"), (-1.49, "−1.5")],
)  # fmt: skip
def test_two_digits(value: float, text: str) -> None:
    assert numbers.scientific(value) == text


def test_a_median_has_the_digits_that_its_interval_supports() -> None:
    assert numbers.with_interval(Interval(1.2345, 1.23, 1.24)) == "1.23 (1.23–1.24)"
    assert numbers.with_interval(Interval(1.2345, 1.16, 1.32)) == "1.23 (1.16–1.32)"
    assert numbers.supported(Interval(1.2345, 0.9, 1.9)) == "≈1.2"
    assert numbers.difference(Interval(0.52, 0.1, 0.9)) == "+0.5 (+0.1 to +0.9)"


def test_amounts_have_units() -> None:
    assert numbers.amount(3 * 2**20) == "3.0 MiB"
    assert [numbers.duration(t) for t in (2.5, 2.5e-3, 2.5e-5)] == ["2.50 s", "2.50 ms", "25.0 µs"]


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    lines = table(["a", "b", "c"], [["x", "1.5 %", "word"], ["y", "not finite", "–"]]).splitlines()
    assert lines[1].split("|")[1:-1] == [":----", "-----------:", ":-----"]


def test_a_pivot_says_how_many_rows_a_cell_has() -> None:
    frame = pl.DataFrame({"method": ["a", "a", "b"], "d": [4, 8, 4], "x": [1.0, 2.0, math.inf]})
    lines = pivot(frame, ("method", "d"), pl.col("x").median()).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a", "1", "2"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["b", "not finite", "–"]
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["*n*", "1", "1"]


@pytest.mark.parametrize("name", ["a|b", "<script>", "[/red]", "$\\frac{$", "two\nlines", "`x`"])
def test_strange_names_are_text(name: str, tmp_path: Path) -> None:
    html = page(f"{table(['name', 'n'], [[escape(name), '1']])}\n", tmp_path, name)
    assert "<script>alert" not in html
    body = html.split("<body>")[1].split("<script>")[0]
    assert body.count("<td") == 2
    assert "<script" not in body


def test_the_page_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"\x89PNG")
    folded = details("more", "| a |\n|:--|\n| 1 |")
    text = f"# T\n\n[![alt](figures/a.png)](figures/a.png)\n\n{folded}"
    html = page(text, tmp_path, "T & co")
    assert html == page(text, tmp_path, "T & co")
    assert 'src="data:image/png;base64,iVBORw=="' in html
    assert "figures/a.png" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "<details>" in html
    assert "<table>" in html
    assert "<title>T &amp; co</title>" in html


def test_lists_in_words() -> None:
    assert both(["a"]) == "a"
    assert both(["a", "b", "c"]) == "a, b and c"
