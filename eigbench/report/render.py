"""From facts to text: templates, tables, figures, folded parts; and the same text as one page.

All words of a report stand in `templates/*.md.j2`. A chapter computes facts and hands them to its
template. `page` makes a single HTML file of the finished Markdown, with its pictures inside.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from tabulate import tabulate

from eigbench.errors import printable
from eigbench.report import names, numbers
from eigbench.report.frame import values_of
from eigbench.report.numbers import NOT_FINITE, NOTHING

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chapter:
    """A part of a report: its title, its Markdown, and whether it is folded when it is opened."""

    title: str
    body: str
    folded: bool = True

    @property
    def text(self) -> str:
        """The chapter as it stands in the report."""
        return details(self.title, self.body) if self.folded else f"## {self.title}\n\n{self.body}"


@dataclass(frozen=True)
class Part:
    """What a report says of one subject: stability, cost or trainings."""

    title: str
    """Its heading, where a report has several parts."""
    head: str
    """The Markdown that is seen first: one picture, one table, three sentences."""
    chapters: Sequence[Chapter]
    sentences: Sequence[str]
    """What the head says, for a terminal too."""
    banner: Sequence[str] = ()
    """Lines right under the title of the report, such as what was trained."""

    @property
    def summary(self) -> list[str]:
        """The sentences without Markdown."""
        return [re.sub(r"[*`]|^- ", "", sentence) for sentence in self.sentences]


@functools.cache
def environment(templates: Path = TEMPLATES) -> jinja2.Environment:
    """What renders the templates of a folder; the same one for the same folder."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=False,  # noqa: S701 - Markdown, whose cells and names `escape` makes harmless
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        undefined=jinja2.StrictUndefined,
    )
    public = (
        numbers.percent, numbers.percentage, numbers.rounded_share, numbers.scientific,
        numbers.cosine, numbers.factor, numbers.axis_value, numbers.count, numbers.plural,
        numbers.fixed, names.listed, both,
    )  # fmt: skip
    made.filters.update({function.__name__: function for function in public})
    made.globals.update(details=details, figure=figure)
    return made


def render(template: str, **facts: Any) -> str:
    """The text of `templates/TEMPLATE.md.j2` for these facts, without blank lines at its ends."""
    text = environment().get_template(f"{template}.md.j2").render(**facts)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def both(words: Iterable[str], last: str = "and") -> str:
    """Such as "a", "a and b", "a, b and c"."""
    some = list(words)
    return ", ".join(some[:-1]) + f" {last} {some[-1]}" if len(some) > 1 else "".join(some)


def escape(text: object) -> str:
    """Text that is not ours, such as a name, as Markdown that shows it and does nothing else."""
    return re.sub(r"([\\`*_{}\[\]<>|$~&])", r"\\\1", printable(str(text)))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that reads as well in a terminal as on a code host; numbers to the right."""
    body = [[re.sub(r"(?<!\\)\|", r"\\|", cell).replace("\n", " ") for cell in row] for row in rows]
    columns = list(zip(*body, strict=True)) if body else [()] * len(headers)
    alignment = ["left", *("right" if all(map(_numeric, c)) else "left" for c in columns[1:])]
    text: str = tabulate(body, headers, tablefmt="pipe", colalign=alignment, disable_numparse=True)
    return text


def _numeric(cell: str) -> bool:
    return (
        cell in {NOTHING, NOT_FINITE, ""} or re.fullmatch(r"[-−–<>≈×()\d.,e+ %]+", cell) is not None
    )


def pivot(
    frame: pl.DataFrame,
    by: tuple[str, str],
    value: pl.Expr,
    write: Callable[[Any], str] = numbers.scientific,
    corner: str = "",
) -> str:
    """A table of `value`, an aggregation, by one axis down and one across; "" of no rows.

    A combination without rows has a dash. The last row says how many rows a cell has.
    """
    if frame.is_empty():
        return ""
    down, across = by
    cells = frame.group_by(down, across).agg(value.alias("cell"), pl.len().alias("n"))
    found = {(row[down], row[across]): row for row in cells.iter_rows(named=True)}
    columns = values_of(frame, across)
    body = [
        [names.word(down, one) if down not in ("method", "contestant") else str(one)]
        + [NOTHING if (one, other) not in found or found[one, other]["cell"] is None
           else write(found[one, other]["cell"]) for other in columns]
        for one in values_of(frame, down)
    ]  # fmt: skip
    counts = [sorted({found[key]["n"] for key in found if key[1] == other}) for other in columns]
    body.append(["*n*", *("–".join(map(str, dict.fromkeys((n[0], n[-1])))) for n in counts)])
    heads = [numbers.axis_value(column) for column in columns]
    return table([corner or f"{names.label(down)} \\ {names.label(across)}", *heads], body)


def figure(link: str, alt: str, caption: str = "") -> str:
    """A picture that links to itself, and how to read it."""
    picture = f"[![{alt}]({link})]({link})"
    return f"{picture}\n\n*{caption}*" if caption else picture


def details(summary: str, body: str) -> str:
    """A part that is folded until somebody opens it."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def page(markdown: str, folder: Path, title: str) -> str:
    """`markdown` as one HTML file: pictures of `folder` inside it, tables that sort on a click.

    It asks for nothing from a network. The same text and pictures give the same bytes.
    """
    from markdown_it import MarkdownIt  # late: only a report needs it

    converter = MarkdownIt("commonmark", {"html": True}).enable("table")
    content = re.sub(r'src="(figures/[^"]+)"', lambda m: f'src="{_inlined(folder, m[1])}"',
                     converter.render(markdown))  # fmt: skip
    content = re.sub(r'<a href="figures/[^"]+">(<img[^>]*>)</a>', r"\1", content)
    content = re.sub("<th(?=[ >])", '<th scope="col"', content)
    content = re.sub(r"(<tr>\s*)<td(.*)</td>", r'\1<th scope="row"\2</th>', content)
    content = content.replace("<table>", '<div class="wide"><table>')
    content = content.replace("</table>", "</table></div>")
    template = environment().get_template("page.html.j2")
    return template.render(title=title, content=content)


def _inlined(folder: Path, link: str) -> str:
    path = folder / link
    if not path.is_file():
        return link
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
