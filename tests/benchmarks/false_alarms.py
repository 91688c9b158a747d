"""How often the gate cries wolf: it runs N times on unchanged code, and alarms are counted.

    python -m tests.benchmarks.false_alarms 20 [--out DIR] [options of pytest]

prints each run as it ends, then how often each benchmark alarmed and how far its ratio spread
between runs. Everything is kept in DIR as the JSON of pytest-benchmark, one file a run. Runs that
are there already are counted in, so that an interrupted series goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ALARMS = {"worse", "no baseline", "no verdict"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="false_alarms", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=int)
    parser.add_argument("--out", type=Path, default=Path(".benchmarks/false-alarms"))
    options, for_pytest = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(1, options.runs + 1):
        path = options.out / f"run-{number:02}.json"
        if not path.exists():
            _say(f"run {number}: {_run(path, for_pytest)}")
    _say(summary([json.loads(path.read_text()) for path in sorted(options.out.glob("run-*.json"))]))


def _run(path: Path, for_pytest: list[str]) -> str:
    """One session in a process of its own; what it says at its end."""
    part = path.with_suffix(".part")
    command = [sys.executable, "-m", "pytest", "tests/benchmarks", "-m", "speed", "-q"]
    start = time.perf_counter()
    said = subprocess.run(
        [*command, "--benchmark-enable", f"--benchmark-json={part}", *for_pytest],
        capture_output=True,
        text=True,
        check=False,
    )
    path.with_suffix(".txt").write_text(said.stdout + said.stderr)
    record = json.loads(part.read_text()) if part.exists() else {"benchmarks": []}
    failed = [line for line in said.stdout.splitlines() if line.startswith("FAILED")]
    seconds, load = time.perf_counter() - start, os.getloadavg()[1]
    record["series"] = {"failed": failed, "seconds": seconds, "load": load}
    path.write_text(json.dumps(record))
    part.unlink(missing_ok=True)
    last = (said.stdout + said.stderr).strip().splitlines()[-1:]
    return f"{seconds:.0f} s, load {load:.1f}, {''.join(last)}"


def summary(records: list[dict[str, Any]]) -> str:
    """What the runs found, benchmark by benchmark."""
    lines, alarms = [], 0
    for name, infos in _by_benchmark(records).items():
        ratios = [info["estimates"][0][1] for info in infos]
        # A test that broke off has judged nothing: that is not silence.
        outcomes = [info["outcome"] for info in infos]
        outcomes += ["no verdict"] * (len(records) - len(infos))
        counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
        alarms += sum(outcome in ALARMS for outcome in outcomes)
        spread = max(ratios) / min(ratios) - 1
        deviation = statistics.pstdev(ratios) / statistics.mean(ratios)
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        median = statistics.median(ratios)
        lines.append(f"{median:8.3f}  ±{deviation:5.1%}  range {spread:5.1%}  {said}  {name}")
    for record in records:
        lines += [line for line in record["series"]["failed"] if "Failed:" not in line]
    loads = [record["series"]["load"] for record in records]
    seconds = [record["series"]["seconds"] for record in records]
    lines.append(
        f"{alarms} alarms of the gate in {len(records)} runs; "
        f"load {min(loads):.1f} to {max(loads):.1f}, "
        f"{min(seconds):.0f} to {max(seconds):.0f} s a run"
    )
    return "\n".join(lines)


def _by_benchmark(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The gate's findings of every run by benchmark."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for benchmark in record["benchmarks"]:
            if "outcome" in benchmark["extra_info"]:
                found.setdefault(benchmark["fullname"], []).append(benchmark["extra_info"])
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
