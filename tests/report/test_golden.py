"""Reports of recorded runs: byte for byte when made again; of any part of the records."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import msgspec
import pytest

from eigbench.report import write_report
from eigbench.report.compose import last_chapters
from eigbench.report.frame import Frames
from eigbench.runs import store
from eigbench.runs.record import content_of
from eigbench.runs.store import PACKED
from eigbench.runs.suite import cases, find, load, override, to_toml
from tests.runs import making

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "run", tmp_path / "run"))


def written(run: Path) -> dict[str, bytes]:
    """Write the report of a run: the bytes of it and of every figure, by name."""
    write_report(run)
    made = [run / "report.md", run / "report.html", *sorted((run / "figures").iterdir())]
    return {path.name: path.read_bytes() for path in made}


def test_the_same_records_give_the_same_bytes(run: Path) -> None:
    first = written(run)
    assert len(first) >= 5
    assert written(run) == first


def visible(text: str) -> str:
    """What is seen of a report before anything is unfolded."""
    shown, depth = [], 0
    for line in text.splitlines():
        depth += line == "<details>"
        if depth == 0 or (depth == 1 and line.startswith("<summary>")):
            shown.append(line)
        depth -= line == "</details>"
    return "\n".join(shown)


@pytest.mark.usefixtures("undrawn")
def test_what_is_written(run: Path) -> None:
    """The report, which opens with one screen, and its figures; those of an earlier one go."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    old = run / "figures" / "an-older-picture.png"
    old.parent.mkdir()
    old.write_bytes(b"")
    write_report(run)
    assert {path.name for path in run.iterdir()} - {*before} == {
        "report.md", "report.html", "figures",
    }  # fmt: skip
    assert all((run / name).read_bytes() == content for name, content in before.items())
    text = (run / "report.md").read_text("utf-8")
    figures = sorted((run / "figures").iterdir())
    assert figures
    assert old not in figures
    assert all(f"](figures/{figure.name})" in text for figure in figures)
    seen = visible(text)
    assert len(seen.encode()) < 12_000
    assert seen.index("situations.png") < seen.index("| situation") < seen.index("## What to use")


@pytest.mark.usefixtures("undrawn")
def test_a_torn_last_record_makes_a_partial_report(run: Path) -> None:
    records = run / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-20])
    write_report(run)
    text = (run / "report.md").read_text("utf-8")
    assert "**Partial report.** 116 of 117 cases are measured; 1 are missing" in text


@pytest.mark.usefixtures("undrawn")
def test_records_of_any_subset_make_a_report(run: Path) -> None:
    """A run that is interrupted anywhere, or a grid of one case, must still be reported."""
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    draw = random.Random(0)
    subsets = [lines[:0], lines[:1], lines[-1:]]
    subsets += [sorted(draw.sample(lines, size)) for size in (1, 1, 1, 2, 2, 3, 4, 6, 10, 20)]
    for kept in subsets:
        (run / "records.jsonl").write_bytes(b"".join(kept))
        write_report(run)
        assert "How to repeat it" in (run / "report.md").read_text("utf-8")


SAMPLES = Path(__file__).parents[2] / "reports"


@pytest.mark.usefixtures("undrawn")
def test_the_default_report_is_short(tmp_path: Path) -> None:
    """What `eigbench stability --d 4 8 16 32 64` measures, from the records of the sample."""
    suite = override(load(find("stability")), {"d": [4, 8, 16, 32, 64]})
    wanted = {case.id for case in cases(suite)}
    sample = SAMPLES / "stability"
    kept = [line for line in content_of(sample / PACKED).splitlines(keepends=True)
            if json.loads(line)["id"] in wanted]  # fmt: skip
    assert len(kept) == len(wanted)
    (tmp_path / "records.jsonl").write_bytes(b"".join(kept))
    (tmp_path / "suite.toml").write_text(to_toml(suite), "utf-8")
    shutil.copy(sample / "environment.json", tmp_path)
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    assert len(text.encode()) < 96 * 1024
    assert len(visible(text).encode()) < 8 * 1024


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "name",
    ["stability", "singular", "gpu", "survival", "train-field", "train-short", "train-stress",
     "train-released", "learning", "learning-gpu", "paper-table2", "paper-table3", "paper-table4a",
     "paper-table4b", "paper-table4c", "paper-table5",
     "paper-figure2", "paper-figure4"],
)  # fmt: skip
def test_a_committed_sample_is_what_its_records_say(tmp_path: Path, name: str) -> None:
    sample = SAMPLES / name
    for file in ("suite.toml", "environment.json", PACKED):
        shutil.copy(sample / file, tmp_path)
    write_report(tmp_path)
    assert (tmp_path / "report.md").read_text("utf-8") == (sample / "report.md").read_text("utf-8")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_run_without_a_single_value_has_a_report(run: Path, status: str) -> None:
    records = run / "records.jsonl"
    nothing = {"status": status, "reason": "no <luck>", "samples": {}, "labels": {}}
    lines = [
        json.dumps({**json.loads(line), **nothing}) for line in records.read_bytes().splitlines()
    ]
    records.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_report(run)
    text = (run / "report.md").read_text("utf-8")
    assert "no ‹luck›" in text
    assert "<luck>" not in text


# Where it was measured.


def _measured(folder: Path, *places: tuple[str, str, int]) -> str:
    """The entries of a run of four cases by the workers and hosts of its sessions."""
    making.finish(folder, making.suite())
    run = store.read_run(folder)
    sessions = [
        msgspec.structs.replace(making.session(), worker=worker, host=host, torch_threads=threads)
        for worker, host, threads in places
    ]
    records = [
        msgspec.structs.replace(record, session=number % len(sessions))
        for number, record in enumerate(run.records)
    ]
    environment = msgspec.structs.replace(run.environment, sessions=sessions)
    changed = store.Run(run.suite, environment, records)
    chapters = last_chapters(Frames(changed, folder))
    return next(one.body for one in chapters if one.title == "Where it was measured")


def test_one_process_is_as_it_was(tmp_path: Path) -> None:
    text = _measured(tmp_path / "run", ("", "0a", 1))
    assert "4 cases on cpu, processor" in text
    assert "0a" not in text


def test_like_workers_of_a_machine_are_one_entry(tmp_path: Path) -> None:
    text = _measured(
        tmp_path / "run", ("a", "0a", 1), ("b", "0a", 1), ("c", "0b", 1), ("d", "0b", 2)
    )
    entries = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(entries) == 3
    assert "2 cases in 2 workers of machine 0a on cpu" in entries[0]
    assert "1 case in 1 worker of machine 0b on cpu" in entries[1]
    assert "2 torch threads" in entries[2]
