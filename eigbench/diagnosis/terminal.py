"""A diagnosis in a terminal, of any width, or in a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from eigbench.diagnosis.document import Block, Document, Figure, Grid, Heading, Paragraph, is_bad
from eigbench.diagnosis.findings import Finding, Severity
from eigbench.diagnosis.markdown import MARKS
from eigbench.diagnosis.recommend import Recommendation
from eigbench.diagnosis.uses import MEANINGS

COLOURS = {
    Severity.FAILS: "bold red",
    Severity.WRONG: "bold red",
    Severity.BEWARE: "bold yellow",
    Severity.NOTE: "bold",
    Severity.WELL: "bold green",
}
TEXT_WIDTH = 80
WIDEST = 100
"""Longer lines are hard to read."""


def show(document: Document, console: Console) -> None:
    """Print a document; colours only where the console has them."""
    with console.capture() as capture:
        console.print(Text(document.title, style="bold"))
        for block in document.blocks:
            for part in _block(block):
                console.print(part, width=min(console.width, WIDEST))
    # What fills a line up is of no use in a pipe.
    text = re.sub(r" +$", "", capture.get(), flags=re.MULTILINE)
    console.file.write(text)


def to_text(document: Document) -> str:
    """The document as plain text, 80 columns wide."""
    buffer = io.StringIO()
    show(document, Console(file=buffer, width=TEXT_WIDTH, color_system=None, force_terminal=False))
    return buffer.getvalue()


def _block(block: Block) -> Iterator[RenderableType]:
    match block:
        case Heading(text):
            yield Text(f"\n{text}", style="bold underline")
        case Paragraph(text):
            yield _marked(text)
        case Grid():
            yield _grid(block)
        case Finding():
            yield from _finding(block)
        case Recommendation():
            yield from _recommendation(block)
        case Figure():
            return


def _finding(finding: Finding) -> Iterator[RenderableType]:
    colour = COLOURS[finding.severity]
    yield Text(f"\n{MARKS[finding.severity]} {finding.title}", style=colour)
    yield _inside(_marked(finding.found))
    yield _inside(_marked(finding.means))
    if finding.change:
        yield _inside(Text("→ ", style=colour) + _marked(finding.change))
    yield from _code(finding.code)


def _recommendation(advice: Recommendation) -> Iterator[RenderableType]:
    what = Text("\n• " + MEANINGS[advice.use] + ": ")
    if not advice.method:
        yield what + _marked(f"no method. {advice.why}")
        return
    yield what + Text(advice.method, style="bold green")
    yield _inside(_marked(advice.why))
    yield from _code(advice.code)


def _inside(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 2))


def _code(code: str) -> Iterator[RenderableType]:
    if code:
        yield Padding(
            Syntax(code, "python", theme="ansi_dark", background_color="default", word_wrap=True),
            (0, 0, 0, 4),
        )


def _grid(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, header in enumerate(grid.headers):
        table.add_column(header, justify="left" if place == 0 else "right", overflow="fold")
    for first, *cells in grid.rows:
        table.add_row(_marked(first), *map(_cell, cells))
    return table


def _cell(cell: str) -> Text:
    text = _marked(cell)
    if is_bad(cell):
        text.stylize("red")
    return text


def _marked(text: str) -> Text:
    """`code` and *emphasis* as a style of their own."""
    marked = Text()
    for part in re.split(r"(`[^`]+`|\*[^*]+\*)", text):
        if part.startswith("`"):
            marked.append(part.strip("`"), style="cyan")
        elif part.startswith("*") and len(part) > 1:
            marked.append(part.strip("*"), style="italic")
        else:
            marked.append(part)
    return marked
