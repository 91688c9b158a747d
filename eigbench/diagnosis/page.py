"""Text that is written once, as Markdown, and shown in a terminal, a notebook and a file.

What comes from a file or from a library (a name, a message) is put in by `code` or `plain`, so that
nothing in it is taken for Markdown, HTML or a command to the terminal.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from rich import markdown as rich_markdown
from rich.console import Console, ConsoleOptions, RenderResult
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from eigbench.report.numbers import percent, scientific
from eigbench.report.render import environment, escape

TEXT_WIDTH = 80
WIDEST = 100
"""Longer lines are hard to read."""

# Without rich's black ground, which is not that of every terminal.
THEME = Theme({"markdown.code": "cyan", "markdown.h2": "bold"})
# Colours of text and ground are the notebook's own, so that a dark one stays dark. marimo takes
# weights and margins away.
STYLE = """
.eigbench { max-width: 60em; font-family: system-ui, sans-serif; line-height: 1.45; }
.eigbench h3, .eigbench h4 { font-weight: bold; font-size: 1.15em; margin: 1em 0 0.4em; }
.eigbench p { margin: 0.5em 0; }
.eigbench pre { padding: 0.5em 0.8em; background: #8882; overflow-x: auto; }
.eigbench table { border-collapse: collapse; margin: 0.6em 0; }
.eigbench td, .eigbench th { padding: 0.15em 0.7em; }
.eigbench tr + tr td { border-top: 1px solid #8884; }
.eigbench img { max-width: 100%; background: white; }
"""


def one_line(text: str) -> str:
    """A text without line breaks and what else cannot be printed."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def code(name: str) -> str:
    """A name as it is, in one line, in backticks."""
    name = one_line(name) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", name)), default=0))
    pad = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{pad}{name}{pad}{fence}"


def plain(text: str) -> str:
    """A text as it is, in one line, what has a meaning inside a line of Markdown escaped."""
    return escape(one_line(text)).replace("#", r"\#")


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), "no message")


def off(error: float) -> str:
    """A relative error: a percentage where that can be read, else a power of ten."""
    if not math.isfinite(error):
        return "without measure"
    return percent(error) if 0.01 <= error < 10 else scientific(error)


def number(value: float) -> str:
    """A number of a table; ∞ where it is infinite."""
    return "∞" if math.isinf(value) else scientific(value)


_ENVIRONMENT = environment(Path(__file__).parent / "templates")
_ENVIRONMENT.filters.update(code=code, plain=plain, number=number, off=off)


def render(template: str, block: str = "", **values: Any) -> str:
    """The Markdown that a template of this package, or one block of it, makes of `values`."""
    source = _ENVIRONMENT.get_template(f"{template}.md.j2")
    context = source.new_context(values)
    text = "".join((source.blocks[block] if block else source.root_render_func)(context))
    # Lines end where they end in the template: here a paragraph is one line.
    parts = re.split(r"\n{2,}", text.strip())
    kept = ("```", "|", "- ")
    return "\n\n".join(p if p.startswith(kept) else " ".join(p.split()) for p in parts)


def to_html(markdown: str, folded: str = "", summary: str = "") -> str:
    """A piece of HTML that needs nothing else; `folded` is shown when `summary` is clicked."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = parser.render(markdown)
    if folded:
        body += f"<details><summary>{summary}</summary>{parser.render(folded)}</details>"
    # Below the headings of the notebook, of which this is one output.
    body = re.sub(r"(?<=<h|/h)\d(?=>)", lambda level: str(int(level[0]) + 2), body)
    return f'<div class="eigbench"><style>{STYLE}</style>{body}</div>'


def show(markdown: str, console: Console) -> None:
    """Print in a terminal of any width; colours only where the console has them."""
    with console.use_theme(THEME), console.capture() as capture:
        console.print(_Page(markdown, hyperlinks=False), width=min(console.width, WIDEST))
    # The spaces that fill a line up, and more than one empty line, are of no use in a pipe.
    lines = re.sub(r" +$", "", capture.get(), flags=re.MULTILINE)
    console.file.write(re.sub(r"\n{3,}", "\n\n", lines))


def to_text(markdown: str) -> str:
    """What a terminal of 80 columns without colours would show."""
    buffer = io.StringIO()
    show(markdown, Console(file=buffer, width=TEXT_WIDTH, color_system=None, force_terminal=False))
    return buffer.getvalue()


class _Heading(rich_markdown.Heading):
    """A heading at the left; rich has it in the middle, or in a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Code(rich_markdown.CodeBlock):
    """A block of code without blank lines and a ground of its own."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = str(self.text).rstrip()
        look: dict[str, Any] = {"theme": "ansi_dark", "background_color": "default"}
        yield Syntax(lines, self.lexer_name, **look, word_wrap=True, padding=(0, 0, 0, 4))


class _Cell(rich_markdown.TableDataElement):
    """A cell whose long words are folded; rich cuts them off."""

    def __init__(self, justify: Any) -> None:
        super().__init__(justify)
        self.content = Text("", justify=justify, overflow="fold")


class _Page(rich_markdown.Markdown):
    elements: ClassVar[dict[str, type[rich_markdown.MarkdownElement]]] = {
        **rich_markdown.Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "th_open": _Cell,
        "td_open": _Cell,
    }
