"""Reports as the tests write them."""

from __future__ import annotations

from pathlib import Path

from eigbench.report import write_report


def written(run: Path) -> dict[str, bytes]:
    """Write the report of a run: the bytes of it and of every figure, by name."""
    write_report(run)
    made = [run / "report.md", run / "report.html", *sorted((run / "figures").iterdir())]
    return {path.name: path.read_bytes() for path in made}
