"""How `nox -s docs` makes a site of the pages; the source is the whole repository, so links agree.

Sphinx with MyST and furo, rather than mkdocs-material: MkDocs has had no release since August 2024
and mkdocs-material is in maintenance mode, while Sphinx and MyST had releases in October and
November 2026. Sphinx also reads docstrings, checks anchors and searches offline by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eigbench import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project, author, release = "eigbench", "the eigbench contributors", __version__
project_copyright = f"2026, {author}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "reports/*/report.md"]

myst_heading_anchors = 4  # as code hosts make them of headings
suppress_warnings = ["myst.header"]  # parts of a report that are folded have headings of their own
default_role = "code"  # docstrings have `names` in single backticks
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"eigbench {release}"
html_copy_source = False
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


def setup(app: Sphinx) -> None:
    """Register what is done at the end."""
    app.connect("build-finished", _first_page)
