"""How `nox -s docs` makes a site of the pages; the source is the whole repository, so links agree.

Sphinx with MyST and furo, rather than mkdocs-material: MkDocs has had no release since August 2024
and mkdocs-material is in maintenance mode, while Sphinx and MyST had releases in October and
November 2026. Sphinx also reads docstrings, checks anchors and searches offline by itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from eigbench import __version__
from eigbench.report.frame import Frames, comparable
from eigbench.report.judgement import USES, judged
from eigbench.runs.store import read_run

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SAMPLE = Path(__file__).parents[1] / "reports" / "stability"

project, author, release = "eigbench", "the eigbench contributors", __version__
project_copyright = f"2026, {author}"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "reports/*/report.md"]

# A page that begins with `file_format: mystnb` is a notebook, executed here. myst-nb reads it as
# Markdown: unlike an .ipynb its changes can be read, no output is committed, and no test runs it.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

myst_heading_anchors = 4  # as code hosts make them of headings
suppress_warnings = ["myst.header"]  # parts of a report that are folded have headings of their own
default_role = "code"  # docstrings have `names` in single backticks
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"eigbench {release}"
html_copy_source = False
html_static_path = ["static"]
html_js_files, html_css_files = ["sortable.js"], ["site.css"]
html_theme_options = {"navigation_with_keys": True}


def _first_page(app: Sphinx, exception: Exception | None) -> None:
    """Send a reader of the folder to the first page, which is in `docs/`, as in the repository."""
    if exception is None:
        page = f"{root_doc}.html"
        Path(app.outdir, "index.html").write_text(
            f'<!doctype html><meta charset="utf-8"><title>{project}</title>'
            f'<meta http-equiv="refresh" content="0; url={page}"><a href="{page}">{project}</a>\n',
            "utf-8",
        )


HEADINGS = (
    ("loss depends on", USES[0].depends_on), ("precision", "float32"), ("situation", "many ties"),
    ("method", ""), ("matrices", None), ("right, %", None), ("finite, %", None),
    ("median error", None), ("median cosine", None),
)  # fmt: skip
"""The columns of the table of all methods; of those that can be chosen, what is chosen at first."""


def judged_table() -> str:
    """What `reports/stability` says of each loss, precision, situation and method, as HTML."""
    frames = Frames(read_run(SAMPLE), SAMPLE)
    by_loss = frames.usual.partition_by("loss", maintain_order=True)
    names = {use.loss: use.depends_on for use in reversed(USES)}
    filters = ("" if chosen is None else f' data-filter="{chosen}"' for _, chosen in HEADINGS)
    heads = "".join(
        f'<th scope="col"{kept}>{name}</th>'
        for (name, _), kept in zip(HEADINGS, filters, strict=True)
    )
    rows = []
    for row in judged(pl.concat([comparable(own)[0] for own in by_loss])).iter_rows(named=True):
        loss, method = names.get(row["loss"], row["loss"]), row["contestant"]
        words = [loss, row["dtype"], row["situation"], f"<code>{method}</code>", str(row["n"])]
        words += [f"{100 * row[share]:.4g}" for share in ("right", "finite")]
        lost = row["error"] is None or not math.isfinite(row["error"])
        words += ["not finite" if lost else f"{row['error']:.2g}"]
        words += ["–" if row["cosine"] is None else f"{row['cosine']:.2f}".replace("-", "−")]
        rows.append("<tr>" + "".join(f"<td>{word}</td>" for word in words) + "</tr>")
    head = f"<thead><tr>{heads}</tr></thead>"
    table = '<table class="sortable" aria-label="Every method">'
    return "\n".join([table, head, "<tbody>", *rows, "</tbody>", "</table>"])


def _judged(_app: Sphinx, page: str, source: list[str]) -> None:
    if page == "docs/by-situation":
        source[0] = source[0].replace("<!-- judged -->", judged_table())


def setup(app: Sphinx) -> None:
    """Register what is done to pages, and at the end."""
    app.connect("source-read", _judged)
    app.connect("build-finished", _first_page)
