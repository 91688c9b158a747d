"""How often the gate raises a false alarm: it runs N times on unchanged code.

    python -m tests.benchmarks.false_alarms 20 [--out DIR] [options of pytest]

DIR keeps the record of each run. Runs that are there already are counted in, so that an
interrupted series goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ALARMS = {"slower", "no baseline", "no verdict"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="false_alarms", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=int)
    parser.add_argument("--out", type=Path, default=Path(".benchmarks/false-alarms"))
    options, for_pytest = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(1, options.runs + 1):
        path = options.out / f"run-{number:02}.json"
        if not path.exists():
            command = [sys.executable, "-m", "pytest", "tests/benchmarks", "-m", "speed", "-q",
                       "--benchmark-enable", f"--benchmark-json={path}", *for_pytest]  # fmt: skip
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            path.with_suffix(".txt").write_text(said)
            sys.stdout.write(f"run {number}: {(said.strip().splitlines() or ['no output'])[-1]}\n")
    sys.stdout.write(summary(sorted(options.out.glob("run-*.json"))))


def summary(paths: list[Path]) -> str:
    """A line a benchmark: its median ratio, the spread between runs, and what the gate said."""
    found: dict[str, list[tuple[str, float]]] = {}
    for path in paths:
        for benchmark in json.loads(path.read_text() or '{"benchmarks": []}')["benchmarks"]:
            info = benchmark["extra_info"]
            if "outcome" in info:
                one = (info["outcome"], info["estimates"][0][1])
                found.setdefault(benchmark["fullname"], []).append(one)
    lines, alarms = [], 0
    for name, each in found.items():
        # A test that broke off has judged nothing: that is not silence.
        outcomes = [outcome for outcome, _ in each] + ["no verdict"] * (len(paths) - len(each))
        ratios = [ratio for _, ratio in each]
        alarms += sum(outcome in ALARMS for outcome in outcomes)
        said = ", ".join(f"{outcomes.count(one)} {one}" for one in sorted(set(outcomes)))
        spread = max(ratios) / min(ratios) - 1
        lines.append(f"{statistics.median(ratios):8.3f}  range {spread:5.1%}  {said}  {name}\n")
    return "".join(lines) + f"{alarms} alarms of the gate in {len(paths)} runs\n"


if __name__ == "__main__":
    main()
