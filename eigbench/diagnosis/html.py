"""A diagnosis in a notebook: one piece of HTML that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

from eigbench.diagnosis.document import Block, Document, Figure, Grid, Heading, Paragraph, is_bad
from eigbench.diagnosis.findings import Finding, Severity
from eigbench.diagnosis.markdown import MARKS
from eigbench.diagnosis.recommend import Recommendation
from eigbench.diagnosis.uses import MEANINGS

COLOURS = {
    Severity.FAILS: "#c62828",
    Severity.WRONG: "#c62828",
    Severity.BEWARE: "#b26a00",
    Severity.NOTE: "#546e7a",
    Severity.WELL: "#2e7d32",
}
# Colours of text and ground are the notebook's own, so that a dark one stays dark.
STYLE = """
.eigbench { max-width: 60em; font-family: system-ui, sans-serif; line-height: 1.45; }
.eigbench section { border-left: 4px solid; padding: 0.1em 0.9em; margin: 0.8em 0; }
.eigbench h4 { margin: 0.4em 0; }
.eigbench p { margin: 0.4em 0; }
.eigbench pre { padding: 0.5em 0.8em; background: #8882; overflow-x: auto; }
.eigbench table { border-collapse: collapse; margin: 0.6em 0; }
.eigbench td, .eigbench th { padding: 0.15em 0.7em; text-align: right; }
.eigbench td:first-child, .eigbench th:first-child { text-align: left; }
.eigbench tr + tr td { border-top: 1px solid #8884; }
.eigbench .bad { color: #c62828; }
.eigbench img { max-width: 100%; background: white; }
"""


def to_html(document: Document, picture: bytes) -> str:
    """The document, its picture (PNG) inside; longer parts are folded."""
    head, tail = _at_first_table(document.blocks)
    body = "".join(_block(block, picture) for block in head)
    rest = "".join(_block(block, picture) for block in tail)
    return (
        f'<div class="eigbench"><style>{STYLE}</style><h3>{_marked(document.title)}</h3>{body}'
        f"<details><summary>Every method</summary>{rest}</details></div>"
    )


def _at_first_table(blocks: Sequence[Block]) -> tuple[Sequence[Block], Sequence[Block]]:
    """What is shown at once, up to the figure, and what is folded."""
    for place, block in enumerate(blocks):
        if isinstance(block, Figure):
            return blocks[: place + 1], blocks[place + 1 :]
    return blocks, ()


def _block(block: Block, picture: bytes) -> str:
    match block:
        case Heading(text):
            return f"<h4>{_marked(text)}</h4>"
        case Paragraph(text):
            return f"<p>{_marked(text)}</p>"
        case Grid():
            return _grid(block)
        case Figure(caption):
            data = base64.b64encode(picture).decode()
            return f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        case Finding():
            return _finding(block)
        case Recommendation():
            return _recommendation(block)


def _finding(finding: Finding) -> str:
    colour = COLOURS[finding.severity]
    change = f"<p><b>What to change.</b> {_marked(finding.change)}</p>" if finding.change else ""
    return (
        f'<section style="border-color: {colour}">'
        f'<h4 style="color: {colour}">{MARKS[finding.severity]} {_marked(finding.title)}</h4>'
        f"<p>{_marked(finding.found)}</p><p>{_marked(finding.means)}</p>{change}"
        f"{_code(finding.code)}</section>"
    )


def _recommendation(advice: Recommendation) -> str:
    method = f"<code>{escape(advice.method)}</code>" if advice.method else "no method"
    return (
        f"<p><b>{_marked(MEANINGS[advice.use])}</b>: {method}. {_marked(advice.why)}</p>"
        f"{_code(advice.code)}"
    )


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{_marked(cell)}</th>" for cell in grid.headers)
    body = "".join(
        f"<tr><td>{_marked(first)}</td>{''.join(map(_cell, cells))}</tr>"
        for first, *cells in grid.rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(cell: str) -> str:
    return f'<td class="bad">{_marked(cell)}</td>' if is_bad(cell) else f"<td>{_marked(cell)}</td>"


def _code(code: str) -> str:
    return f"<pre><code>{escape(code)}</code></pre>" if code else ""


def _marked(text: str) -> str:
    safe = escape(text, quote=False)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", safe)
