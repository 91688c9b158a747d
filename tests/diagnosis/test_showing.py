"""A diagnosis in a terminal, a file and a notebook."""

from __future__ import annotations

import io
import re
import sys
import warnings
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from rich.console import Console

import eigbench
from eigbench.diagnosis.diagnose import Diagnosis
from eigbench.diagnosis.page import off, plain, show, to_text
from tests.diagnosis.making import with_spectrum


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    """Of a batch with every kind of finding's look in it."""
    batch = np.stack([np.eye(3), with_spectrum(1, 2, 3), np.full((3, 3), np.nan)])
    return eigbench.diagnose(batch)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_longer_than_the_terminal(found: Diagnosis, width: int) -> None:
    buffer = io.StringIO()
    show(found.brief(), Console(file=buffer, width=width))
    lines = buffer.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(" ") for line in lines)
    assert "\x1b" not in buffer.getvalue()


def test_code_from_a_terminal_of_80_columns_can_be_pasted() -> None:
    zeros = torch.diag(torch.tensor([0.0, 0, 1, 2])).bfloat16()
    for M in (zeros, torch.diag(torch.tensor([1.0, 1, 2]))[:2].to(torch.float16)):
        shown = re.findall(r"(?:^ {4}\S.*\n)+", str(eigbench.diagnose(M)), flags=re.MULTILINE)
        assert len(shown) > 2
        for block in shown:
            compile(re.sub(r"^ {4}", "", block, flags=re.MULTILINE), "pasted", "exec")


def test_colours_only_where_there_are_any(found: Diagnosis) -> None:
    buffer = io.StringIO()
    show(found.brief(), Console(file=buffer, width=80, force_terminal=True))
    assert "\x1b[" in buffer.getvalue()


def test_html_is_whole_and_needs_nothing_from_outside(found: Diagnosis) -> None:
    html = found._repr_html_()
    tags = {element.tag for element in ET.fromstring(html).iter()}  # noqa: S314 - ours
    assert {"table", "img", "details", "code", "h3", "h4"} <= tags
    assert not {"script", "h1", "h2"} & tags  # its headings are below those of a notebook
    assert "data:image/png;base64," in html
    assert not re.search(r"(src|href)=\"http", html)


STRANGE = ["[/a] [red]x", r"$\frac{$ <b>", "a|b *c*_d_ &amp;", "``e` # f", "g\nh \x1b[31mi\x07"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_from_a_file_is_text_everywhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({name: torch.eye(2), "other": torch.full((2, 2), torch.nan)}, path)
    shown = name.replace("\n", " ").replace("\x1b", r"\x1b").replace("\x07", r"\x07")
    found = eigbench.diagnose(path)
    text, report = str(found), found.write(tmp_path).read_text("utf-8")
    assert f"\n{shown} (of" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text + report)
    cells = re.findall("<th[^>]*>(.*?)</th>", found._repr_html_())
    assert f"<code>{escape(shown)}</code>" in cells
    assert f"{shown}: eigenvalues" in [axes.get_title() for axes in found.plot().axes]


def test_an_error_below_a_per_cent_keeps_its_size() -> None:
    assert [off(x) for x in (0.001, 0.005, 0.03, 2.7, 40)] == [
        "1.0e-03",
        "5.0e-03",
        "3 %",
        "270 %",
        "40",
    ]


def test_text_from_a_library_is_text() -> None:
    message = "a *b* `c` [d](e) <f> _g_ ~~h~~ &amp; \\i # j"
    assert to_text(f"## x {plain(message)}") == f"x {message}\n"


def test_a_folder_gets_the_report_and_its_picture(found: Diagnosis, tmp_path: Path) -> None:
    path = found.write(tmp_path)
    text = path.read_text("utf-8")
    for link in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (tmp_path / link).read_bytes().startswith(b"\x89PNG")
    assert "figures/spectrum.png" in text
    assert text.count("## Every method on") == 1


@pytest.mark.parametrize(
    "M",
    [np.zeros((2, 2)), np.ones((1, 1)), -np.eye(2), np.full((2, 2), np.nan), np.eye(3) * 1e-300],
)
def test_every_spectrum_can_be_drawn(M: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    figure = eigbench.diagnose(M).plot()
    assert len(figure.axes) == 2


def test_the_backend_of_a_notebook_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    eigbench.diagnose(np.eye(2))._repr_html_()
    assert "matplotlib.pyplot" not in sys.modules


def test_methods_that_the_reader_did_not_call_do_not_warn() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        eigbench.diagnose(np.eye(3))
    assert not warned
