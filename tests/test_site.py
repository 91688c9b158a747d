"""The site: pages are found, pictures have words, and no page loads from a network."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

import eigbench
from eigbench import layers, methods
from tests import gallery

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc=["']([^"']+)"""
    r"""|<link\b[^>]*?\bhref=["']([^"']+)|(?:url\(|@import )["']?([^"')]+)"""
)


def remote(text: str) -> list[str]:
    """What a page or a style sheet loads from another host."""
    found = ("".join(groups) for groups in LOADED.findall(text))
    return [address for address in found if re.match(r"(https?:)?//", address)]


def test_every_page_is_in_a_table_of_contents() -> None:
    tables = re.findall(
        r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text("utf-8"), re.DOTALL
    )
    lines = [line for table in tables for line in table.splitlines() if line and line[0] != ":"]
    named = [re.sub(r".*<(.+)>", r"\1", line) for line in lines]
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert pages - {"index"} <= set(named)
    assert len(named) == len(set(named))


def test_the_reference_has_every_public_name() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    for module in (eigbench, layers):
        for name in set(module.__all__) - {"__version__", "methods"}:
            assert f":: {module.__name__}.{name}\n" in text
    assert f"automodule:: {methods.__name__}\n" in text


def test_the_gallery_has_every_kind_of_picture() -> None:
    assert set(gallery.READ) == gallery.kinds()
    assert gallery.gallery().count("![") == len(gallery.READ)


def test_the_table_of_all_methods_agrees_with_the_opening_of_the_report() -> None:
    table = runpy.run_path(str(DOCS / "conf.py"))["judged_table"]()
    assert table.count("<th ") == table.count('<th scope="col"') == 9  # for a screen reader
    rows = [re.findall(r"<td>(.*?)</td>", line) for line in table.splitlines()]
    where = "M^(−1/2): ZCA whitening", "float32", "closing gaps", "<code>hybrid</code>"
    ((n, right, _, error, cosine),) = [row[4:] for row in rows if tuple(row[:4]) == where]
    report = (ROOT / "reports" / "stability" / "report.md").read_text("utf-8")
    (line,) = re.findall(r"^\| closing gaps \(\d+\) .*$", report, re.MULTILINE)[:1]
    assert f"closing gaps ({n})" in line
    assert f"{right} %**, {error}, {cosine}" in line


def test_what_a_page_loads_is_found() -> None:
    page = """<a href="https://a"></a><img src="x.png"><script async src='https://b/c.js'></script>
    <link rel="stylesheet" href="//d/e.css">
    <style>@import "http://f"; a { b: url(https://g) }</style>"""
    assert remote(page) == ["https://b/c.js", "//d/e.css", "http://f", "https://g"]


@pytest.mark.skipif("EIGBENCH_SITE" not in os.environ, reason="`nox -s docs` builds the site")
def test_no_page_of_the_site_loads_from_a_network() -> None:
    files = [path for path in Path(os.environ["EIGBENCH_SITE"]).rglob("*") if path.is_file()]
    assert {"index.html", "searchindex.js", "gallery.html", "api.html"} <= {
        one.name for one in files
    }
    for file in files:
        if file.suffix in {".html", ".css"}:
            text = file.read_text("utf-8")
            assert not remote(text), file
            assert str(ROOT) not in text, file
        if file.suffix == ".html":
            assert not re.search(r"<img(?![^>]* alt=)|<iframe(?![^>]* title=)", text), file
