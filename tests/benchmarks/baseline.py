"""The committed baseline: read, added to, and the place it was measured at."""

from __future__ import annotations

import platform
from pathlib import Path

import msgspec

from eigbench.runs.store import write_whole
from tests.benchmarks.gate import Entry, Estimate

FILE = Path(__file__).with_name("baseline.json")
PROCESSES = 5
"""An entry keeps the estimates of the last so many: as many as `nox` starts to accept one."""


def read(path: Path = FILE) -> dict[str, Entry]:
    """The entries by benchmark; none if there is no file."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])


def accept(name: str, estimate: Estimate, where: str, path: Path = FILE) -> None:
    """Add this process's estimate to the entry of `name`.

    An entry of another place is replaced: ratios of two places are not one baseline.
    """
    entries = read(path)
    before = entries.get(name)
    runs = before.runs if before is not None and before.where == where else []
    entries[name] = Entry(where=where, runs=[*runs, estimate][-PROCESSES:])
    content = msgspec.json.encode(dict(sorted(entries.items())))
    write_whole(path, msgspec.json.format(content, indent=1) + b"\n")


def place() -> str:
    """What ratios depend on besides the code: processor, cores, torch and Python."""
    from eigbench.runs.environment import describe

    session = describe("cpu", seed=0)
    python = ".".join(platform.python_version_tuple()[:2])
    return (
        f"{session.processor}{_model()}, {session.logical_cores} cores, "
        f"torch {session.packages['torch']}, Python {python}"
    )


def _model() -> str:
    """Family and model where Linux tells: virtual machines hide more of the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    if "cpu family" not in found or "model" not in found:
        return ""
    return f" (family{found['cpu family']}, model{found['model']})"
