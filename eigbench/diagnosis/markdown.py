"""A diagnosis as a markdown file."""

from __future__ import annotations

from eigbench.diagnosis.document import Block, Document, Figure, Grid, Heading, Paragraph
from eigbench.diagnosis.findings import Finding, Severity
from eigbench.diagnosis.recommend import Recommendation
from eigbench.diagnosis.uses import MEANINGS
from eigbench.report.markdown import figure, table

MARKS = {
    Severity.FAILS: "✗",
    Severity.WRONG: "✗",
    Severity.BEWARE: "!",
    Severity.NOTE: "·",
    Severity.WELL: "✓",
}


def to_markdown(document: Document, picture: str | None) -> str:
    """The document; `picture` is the link to the figure, if it was drawn."""
    parts = [f"# {document.title}"]
    for block in document.blocks:
        parts += _block(block, picture)
    return "\n\n".join(parts) + "\n"


def _block(block: Block, picture: str | None) -> list[str]:
    match block:
        case Heading(text):
            return [f"## {text}"]
        case Paragraph(text):
            return [text]
        case Grid(headers, rows):
            return [table(headers, rows)]
        case Figure(caption):
            return [] if picture is None else [figure(picture, caption)]
        case Finding():
            return _finding(block)
        case Recommendation():
            return _recommendation(block)


def _finding(finding: Finding) -> list[str]:
    parts = [f"### {MARKS[finding.severity]} {finding.title}", finding.found, finding.means]
    if finding.change:
        parts.append(f"**What to change.** {finding.change}")
    return [*parts, *_code(finding.code)]


def _recommendation(advice: Recommendation) -> list[str]:
    use = MEANINGS[advice.use]
    if not advice.method:
        return [f"**{_capital(use)}**: no method. {advice.why}"]
    return [f"**{_capital(use)}**: `{advice.method}`. {advice.why}", *_code(advice.code)]


def _code(code: str) -> list[str]:
    return [f"```python\n{code}\n```"] if code else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
