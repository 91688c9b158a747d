"""Makes the committed reports again: one after the other, by the commands that they name.

`python reports/make.py [NAME …]`, from the root of the project, with nothing else running: if other
programs take more than `IDLE` of the cores, it ends. `data/cifar10` must hold CIFAR-10. Those not
of a GPU take about two hours of two cores.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPORTS = Path("reports")
IDLE = 0.05


def command_of(report: Path) -> list[str]:
    """The command that a report names under "How to repeat it"."""
    found = re.search(r"```\neigbench (.+)\n```", report.read_text("utf-8"))
    if found is None:
        raise SystemExit(f"{report} names no command")
    return [word for word in shlex.split(found[1]) if word != "--quiet"]  # which is added again


def on_a_gpu(report: Path) -> bool:
    """Whether a report is of a GPU: it is made again only where it is asked for."""
    sessions = json.loads((report / "environment.json").read_bytes())["sessions"]
    return any(session["device"].startswith("cuda") for session in sessions)


def make(name: str) -> None:
    """Measure one report again, and put it in the place of the committed one if it is whole."""
    old, new = REPORTS / name, Path("build") / "reports" / name
    words = command_of(old / "report.md")
    out = words.index("--out") + 1
    shutil.rmtree(new, ignore_errors=True)
    measured = [sys.executable, "-m", "eigbench", *words[:out], str(new), *words[out + 1 :]]
    subprocess.run([*measured, "--quiet"], check=True)
    records, environment = new / "records.jsonl", new / "environment.json"
    # The report names the place where it will be.
    text = environment.read_text("utf-8").replace(shlex.quote(str(new)), f"reports/{name}")
    environment.write_text(text, "utf-8")
    busy = json.loads(text)["sessions"][0]["other_programs"]
    if busy > IDLE:
        raise SystemExit(f"other programs took {busy:.0%} of the cores; {new} is not taken over")
    (new / "records.jsonl.gz").write_bytes(gzip.compress(records.read_bytes(), mtime=0))
    records.unlink()
    subprocess.run([sys.executable, "-m", "eigbench", "report", str(new), "--quiet"], check=True)
    for made in (new / "report.html", new / ".lock"):
        made.unlink(missing_ok=True)
    shutil.rmtree(old)
    shutil.move(new, old)


def main() -> None:
    """Make those of the command line, or all of them."""
    there = sorted(suite.parent.name for suite in REPORTS.glob("*/suite.toml"))
    names = sys.argv[1:] or [name for name in there if not on_a_gpu(REPORTS / name)]
    if unknown := set(names) - set(there):
        raise SystemExit(f"no such report: {', '.join(unknown)}; there are {', '.join(there)}")
    for name in names:
        began = time.monotonic()
        make(name)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
