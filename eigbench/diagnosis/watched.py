"""The report of a `watch`: what it saw, then the diagnosis of the call that it kept."""

from __future__ import annotations

from pathlib import Path

from eigbench.diagnosis.diagnosing import LINK, diagnose
from eigbench.diagnosis.document import Block, Document, Heading, Paragraph
from eigbench.diagnosis.journal import Journal
from eigbench.diagnosis.keeping import CLOSEST, FAILURE, FROM_ABOVE
from eigbench.diagnosis.markdown import to_markdown
from eigbench.diagnosis.plot import to_png
from eigbench.runs.store import RECORDS, REPORT, write_whole


def write_report(folder: Path, journal: Journal, steps: int, error: BaseException | None) -> Path:
    """Write `records.jsonl`, `report.md` and its picture; returns the report's path."""
    write_whole(folder / RECORDS, journal.lines())
    blocks: list[Block] = [Paragraph(_sentence(journal, steps, error)), *journal.blocks()]
    picture = None
    kept = next((folder / n for n in (FAILURE, FROM_ABOVE, CLOSEST) if (folder / n).exists()), None)
    if kept is not None:
        found = diagnose(kept)
        command = f"`eigbench diagnose {kept}` shows the following again."
        blocks += [
            Heading(found.title),
            Paragraph(command),
            *found.document(everything=True).blocks,
        ]
        picture = LINK
        (folder / LINK).parent.mkdir(exist_ok=True)
        write_whole(folder / LINK, to_png(found.plot()))
    document = Document("What eigbench.watch saw", tuple(blocks))
    report = folder / REPORT
    write_whole(report, to_markdown(document, picture).encode())
    return report


def _sentence(journal: Journal, steps: int, error: BaseException | None) -> str:
    calls = f"{journal.calls} calls, of which {journal.differentiated} were differentiated"
    ended = ""
    if error is not None:
        first = next(iter(str(error).splitlines()), "no message")
        ended = f" It ended with {type(error).__name__}: {first}"
    return f"{steps} steps of the optimiser, {calls}.{ended}"
