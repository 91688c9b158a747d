"""How often `eigbench.diagnose` is right: its advice on drawn matrices, followed to the letter.

`python -m tests.diagnosis.draws --draws 2000 --out reports/diagnose-draws` asks 2,000 questions
and writes a line of JSON for each, and a summary; `--seed 17` shows question 17 alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from eigbench.report.numbers import NOTHING, counted
from eigbench.report.render import table
from tests.diagnosis.exact import DIGITS
from tests.diagnosis.judging import FAILURES, KNOWN, RIGHT, asked, diagnosed
from tests.diagnosis.questions import draw

Record = dict[str, Any]
GOOD = {
    "right": f"the gradient is off by at most {100 * RIGHT:g} %",
    "rightly refused": "nothing was recommended for what has no derivative",
}
OUTCOMES = {**GOOD, **FAILURES}
BY = {"kind": "kind of matrix", "use": "use", "dtype": "dtype"}
RECORDS, SUMMARY = "draws.jsonl.gz", "report.md"


def record_of(seed: int) -> Record:
    """What became of one question, as a line of JSON; of a failure with what was advised."""
    torch.set_num_threads(1)
    question = draw(seed)
    found = asked(question)
    record: Record = {
        "seed": seed,
        "kind": question.kind,
        "dtype": str(question.M.dtype).removeprefix("torch."),
        "shape": list(question.M.shape),
        "use": question.use,
        "loss": question.loss,
        "status": found.status,
        "outcome": found.outcome,
        "method": found.method,
        "error": _short(found.error),
        "spread": _short(found.spread),
    }
    if found.outcome in FAILURES:
        record |= {**found.target._asdict(), "code": found.code, "note": found.note}
    return record


def _short(value: float) -> float | None:
    return float(f"{value:.1e}") if math.isfinite(value) else None


def headline(records: Sequence[Record]) -> str:
    """The shares of what has an answer that were answered rightly."""
    posed = [record for record in records if record["outcome"] in OUTCOMES]
    none = [record["status"] == "no derivative" for record in posed]
    good = [record["outcome"] in GOOD for record in posed]
    refused = sum(one for one, is_none in zip(good, none, strict=True) if is_none)
    having = len(posed) - sum(none)
    return (
        f"Of {len(records):,} drawn questions {having:,} have a gradient that the "
        f"digits of M determine: the advice gave it within {100 * RIGHT:g} % on "
        f"{counted(sum(good) - refused, having)}. {sum(none):,} have no derivative: it was "
        f"refused on {counted(refused, sum(none))}. The other {len(records) - len(posed):,} count "
        "apart."
    )


def summary(records: Sequence[Record]) -> str:
    """The shares, by kind of matrix and by use, and every failure in full."""
    failed = [record for record in records if record["outcome"] in FAILURES]
    return "\n\n".join(
        [
            "# How often the advice of `eigbench diagnose` is right",
            headline(records),
            "Each question is of one matrix, one use and one loss. It asks `eigbench.diagnose`, "
            "executes the lines that it gives for that use, and compares the gradient of the loss "
            f"with the exact one, computed with {DIGITS} digits from M as it was given. A gradient "
            "is determined if a change of M by half a unit in the last place moves it by no more "
            f"than {100 * KNOWN:g} %, in half precision by no more than ten times that unit. All "
            "other questions are counted apart, whatever the answer was. "
            "`python -m tests.diagnosis.draws --seed N` shows question N.",
            "\n".join(f"- {outcome}: {meaning}" for outcome, meaning in OUTCOMES.items()),
            *(part for key in BY for part in _by(records, key)),
            "## Counted apart",
            _apart(records),
            "## Failures",
            *(map(_failure, failed) if failed else ["None."]),
        ]
    )  # fmt: skip


def _by(records: Sequence[Record], key: str) -> tuple[str, str]:
    rows = []
    for one in sorted({record[key] for record in records}):
        outcomes = Counter(record["outcome"] for record in records if record[key] == one)
        posed = [outcomes[outcome] for outcome in OUTCOMES]
        apart = sum(outcomes.values()) - sum(posed)
        share = f"{sum(posed[: len(GOOD)])} of {sum(posed)}"
        rows.append([one, share, *(str(count or NOTHING) for count in [*posed, apart])])
    return f"## By {BY[key]}", table([BY[key], "right, of n", *OUTCOMES, "apart"], rows)


def _apart(records: Sequence[Record]) -> str:
    outcomes = Counter(record["outcome"] for record in records)
    rows = [[one, str(n)] for one, n in sorted(outcomes.items()) if one not in OUTCOMES]
    return table(["question, answer", "n"], rows) if rows else "None."


def _failure(record: Record) -> str:
    """All of a record but what is empty."""
    about = {key: value for key, value in record.items() if value and key not in {"code", "seed"}}
    said = ", ".join(f"{key} {value}" for key, value in about.items())
    lines = f"\n\n```python\n{record['code']}\n```" if record["code"] else ""
    return f"- **{record['seed']}**: {' '.join(said.split())}{lines}"


def show(seed: int) -> None:
    """Print one question, what was recommended and what became of it."""
    question = draw(seed)
    torch.set_printoptions(precision=17, linewidth=140)  # type: ignore[no-untyped-call]
    advised = [one for one in diagnosed(question).recommendations if one.use == question.use]
    lines = [question, *(f"{one.why}\n{one.code}" for one in advised), asked(question)]
    sys.stdout.write("\n".join(map(str, lines)) + "\n")


def write(records: Iterable[Record], folder: Path, total: int) -> None:
    """The records as they come, then the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    with gzip.open(folder / RECORDS, "wt", encoding="utf-8") as file:
        for record in records:
            done.append(record)
            file.write(json.dumps(record) + "\n")
            file.flush()
            sys.stderr.write(f"\r{len(done)} of {total}")
    (folder / SUMMARY).write_text(summary(done) + "\n", encoding="utf-8")
    sys.stdout.write(f"\n{folder / SUMMARY}\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.diagnosis.draws", description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="how many questions")
    parser.add_argument("--first", type=int, default=0, help="the number of the first question")
    parser.add_argument("--out", type=Path, default=Path("reports/diagnose-draws"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, help="show this question alone")
    options = parser.parse_args()
    if options.seed is not None:
        show(options.seed)
        return
    seeds = range(options.first, options.first + options.draws)
    with get_context("spawn").Pool(options.processes) as pool:
        write(pool.imap(record_of, seeds), options.out, len(seeds))


if __name__ == "__main__":
    main()
