"""Numbers, tables, templates, and the page: nothing of what they show is markup by accident."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from eigbench.report import numbers
from eigbench.report.render import both, details, escape, page, pivot, table
from eigbench.report.stats import Interval

REPORTS = Path(__file__).parents[2] / "reports"


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
    assert (body.count("<th "), body.count("<td")) == (3, 1)
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


class Read(HTMLParser):
    """What a page is made of: its tags with their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", ["stability", "profile", "train-stress"])
def test_everybody_can_read_the_page(name: str) -> None:
    """WCAG 2.2: language, names of pictures, order of headings, headers of tables; no requests."""
    folder = REPORTS / name
    html = page((folder / "report.md").read_text("utf-8"), folder, name)
    tags = Read(html).tags
    assert dict(tags)["html"]["lang"] == "en"
    pictures = [own for tag, own in tags if tag == "img"]
    assert pictures
    for own in pictures:
        assert len(own["alt"] or "") > 10
    headings = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise([0, *headings]))
    cells = [own.get("scope") for tag, own in tags if tag == "th"]
    assert {*cells} == {"col", "row"}
    assert sum(tag == "tr" for tag, _ in tags) == cells.count("row") + html.count("<thead>")
    loads = [own[key] or "" for tag, own in tags if tag != "a" for key in ("src", "href")
             if key in own]  # fmt: skip
    assert all(one.startswith("data:") for one in loads)
    assert not re.search(r"url\(|@import|fetch\(|<link", html)


def test_colours_of_the_page_have_contrast(tmp_path: Path) -> None:
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3) in the light and in the dark scheme."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    schemes = re.findall(r":root \{([^}]*--ink[^}]*)\}", page("# T", tmp_path, "T"))
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for ink in ("ink", "link"):
            for ground in ("paper", "soft"):
                low, high = sorted(luminance(colours[one]) for one in (ink, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_lists_in_words() -> None:
    assert both(["a"]) == "a"
    assert both(["a", "b", "c"]) == "a, b and c"
