"""A folder that comes from somebody else, or that somebody changes: refused, or harmless."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eigbench.errors import InputError, RunStopped
from eigbench.kinds import case_of
from eigbench.kinds.path import PathCase
from eigbench.kinds.profile import ProfileCase
from eigbench.kinds.series import SeriesCase
from eigbench.kinds.train import TrainCase
from eigbench.runs import record, store
from eigbench.runs.runner import attempt
from eigbench.runs.suite import cases
from tests.runs import making

SUITE = making.suite()
SAMPLES = Path(__file__).parents[2] / "reports"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of four cases."""
    made = tmp_path / "run"
    making.finish(made, SUITE)
    return made


def _lines(folder: Path) -> list[bytes]:
    return (folder / "records.jsonl").read_bytes().splitlines(keepends=True)


def _refusal(folder: Path) -> str:
    """What is said of the run by what reads it, and by what would go on with it."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    with pytest.raises(InputError) as reading:
        store.read_run(folder)
    with (
        pytest.raises(InputError) as resuming,
        store.open_run(folder, SUITE, making.session(), resume=True),
    ):
        pass
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    assert after == before
    assert str(reading.value) == str(resuming.value)
    return str(reading.value).removeprefix(f"{folder}/")


# Records that do not belong together


@pytest.mark.parametrize("position", [0, 2])
def test_a_record_that_is_there_twice_counts_once(
    folder: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    lines = _lines(folder)
    (folder / "records.jsonl").write_bytes(b"".join([*lines, lines[position], lines[position]]))
    run = store.read_run(folder)
    assert len(run.records) == 4
    assert run.missing == []
    said = [f"records.jsonl, line {n} repeats line {position + 1}" for n in (5, 6)]
    assert [note.split(";")[0] for note in run.notes] == said
    assert all(line in caplog.text for line in said)


@pytest.mark.parametrize("position", [0, 3])
def test_records_that_contradict_each_other_are_refused(folder: Path, position: int) -> None:
    lines = _lines(folder)
    other = lines[position].replace(b'"elapsed_seconds":0.5', b'"elapsed_seconds":0.25')
    assert other != lines[position]
    (folder / "records.jsonl").write_bytes(b"".join([*lines, other]))
    said = f"records.jsonl, line 5 contradicts line {position + 1}"
    assert _refusal(folder).startswith(said)


@pytest.mark.parametrize("gap", [0.2, 0.3])
def test_a_record_of_another_suite_is_refused(folder: Path, tmp_path: Path, gap: float) -> None:
    making.finish(tmp_path / "other", making.suite(gap=[gap]))
    own, other = _lines(folder), _lines(tmp_path / "other")
    (folder / "records.jsonl").write_bytes(b"".join([*own[:2], *other[:2], *own[2:]]))
    said = _refusal(folder)
    assert said.startswith("records.jsonl, line 3, 4: not a case of the suite.toml beside it (2 of")


def test_a_suite_that_was_edited_has_none_of_the_records(folder: Path) -> None:
    text = (folder / "suite.toml").read_text(encoding="utf-8")
    assert "0.1" in text
    (folder / "suite.toml").write_text(text.replace("0.1", "0.15"), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1, 2, 3, 4: not a case of the suite\.toml"):
        store.read_run(folder)


def test_another_schema_of_the_environment_is_refused(folder: Path) -> None:
    path = folder / "environment.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    assert _refusal(folder) == "environment.json: schema 2; this eigbench reads 1"


@pytest.mark.parametrize("name", ["<script>", "a|b", "\x1b[31m", "a b", ""])
def test_a_record_of_a_method_that_has_no_name_is_refused(folder: Path, name: str) -> None:
    content = json.loads(_lines(folder)[0])
    content["case"]["method"] = name
    content["id"] = case_of(content["case"]).id
    (folder / "records.jsonl").write_text(json.dumps(content) + "\n")
    assert _refusal(folder).startswith(f"records.jsonl, line 1: no method is called {name!r}")


# What follows the last line break


@pytest.mark.parametrize(
    "garbage",
    [
        lambda _: b"x" * 3_000_000,
        lambda _: b"\0" * 4096,
        lambda line: b" " + line[:50],
        lambda line: line[:60] + b"x" * 50_000,
        lambda line: line[:40] + b"\xff\xfe" + line[40:80],
        lambda line: line + b"and more",
        lambda _: b'{"name":"of something else',
        lambda _: b"[" * 10_000,
    ],
)
def test_only_the_start_of_a_record_is_a_torn_one(
    folder: Path, garbage: Callable[[bytes], bytes]
) -> None:
    lines = _lines(folder)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:3]) + garbage(lines[3][:-1]))
    assert _refusal(folder).startswith("records.jsonl, line 4: neither a record nor the start of")


# Records that are not whole


@functools.cache
def _sample(kind: type, name: str) -> record.Record:
    lines = record.content_of(SAMPLES / name / store.PACKED).splitlines()
    found = map(record.decode, lines)
    return next(r for r in found if isinstance(r.case, kind) and r.status == "measured")


@pytest.mark.parametrize(
    ("kind", "sample", "metric"),
    [
        (PathCase, "stability", "gradient_error"),
        (PathCase, "stability", "moved"),
        (SeriesCase, "stability", "powers"),
        (ProfileCase, "profile", "backward_seconds"),
        (ProfileCase, "profile", "operator_calls"),
        (TrainCase, "train-short", "loss"),
        (TrainCase, "train-short", "validation_loss"),
    ],
)
def test_a_metric_that_is_missing_or_of_another_length_is_refused(
    tmp_path: Path, kind: type, sample: str, metric: str
) -> None:
    whole = _sample(kind, sample)
    path = tmp_path / "records.jsonl"
    path.write_bytes(record.encode(whole))
    assert [*record.read(path).lines.values()] == [whole]
    absent = {name: values for name, values in whole.samples.items() if name != metric}
    longer = {**whole.samples, metric: [*whole.samples[metric], 1.0]}
    for samples, said in ((absent, f"there is no {metric}"), (longer, "values of")):
        path.write_bytes(record.encode(msgspec.structs.replace(whole, samples=samples)))
        with pytest.raises(InputError, match=rf"line 1: not a whole record \(.*{said}"):
            record.read(path)


@pytest.mark.parametrize("metric", ["gradient_error", "ends"])
@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_value_for_each_matrix(folder: Path, metric: str, values: list[float]) -> None:
    content = json.loads(_lines(folder)[1])
    content["samples"][metric] = values
    lines = [_lines(folder)[0], json.dumps(content).encode() + b"\n", *_lines(folder)[2:]]
    (folder / "records.jsonl").write_bytes(b"".join(lines))
    said = f"records.jsonl, line 2: not a whole record ({len(values)} values of {metric}, not 2)"
    assert _refusal(folder) == said


# Links


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for name in ("report.md", ".report.md.part"):
        (tmp_path / name).symlink_to("mine")
    store.write_whole(tmp_path / "report.md", b"theirs")
    assert (tmp_path / "report.md").read_bytes() == b"theirs"
    assert not (tmp_path / "report.md").is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["records.jsonl", "environment.json", "suite.toml", ".lock"])
def test_a_run_does_not_go_on_through_a_link(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "mine")
    before = (tmp_path / "mine").read_bytes()
    (folder / name).symlink_to(tmp_path / "mine")
    with (
        pytest.raises(InputError, match=f"{name} is a link"),
        store.open_run(folder, SUITE, making.session(), resume=True),
    ):
        pass
    assert (tmp_path / "mine").read_bytes() == before


@pytest.mark.parametrize("name", ["figures", "traces", "checkpoints"])
def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (folder / name).symlink_to(tmp_path / "mine")
    with pytest.raises(RunStopped, match=f"{name} is a link"):
        store.own_folder(folder, name)
    assert list((tmp_path / "mine").iterdir()) == []


# While it is being written


def _replaced(folder: Path) -> None:
    content = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").unlink()
    (folder / "records.jsonl").write_bytes(content)


def _appended(folder: Path) -> None:
    with (folder / "records.jsonl").open("ab") as file:
        file.write(b"another program's")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda folder: (folder / "records.jsonl").unlink(), "is gone"),
        (shutil.rmtree, "is gone"),
        (_replaced, "was changed by another program"),
        (_appended, "was changed by another program"),
        (lambda folder: (folder / "records.jsonl").write_bytes(b""), "was changed"),
    ],
)
def test_a_change_during_the_run_ends_it(
    tmp_path: Path, change: Callable[[Path], Any], what: str
) -> None:
    folder = tmp_path / "run"
    first, second, *_ = (attempt(case, making.measure) for case in cases(SUITE))
    with store.open_run(folder, SUITE, making.session(), resume=False) as writer:
        writer.append(first)
        change(folder)
        stopped = rf"records\.jsonl {what}.* during the run"
        with pytest.raises(RunStopped, match=stopped):
            writer.append(second)
        with pytest.raises(RunStopped, match=stopped):
            writer.require_own()


# Programs


@pytest.mark.parametrize("before", [{}, {"mine": "a" * 64}])
def test_another_program_of_a_method_is_another_run(tmp_path: Path, before: dict[str, str]) -> None:
    suites = [msgspec.structs.replace(SUITE, plugins=one) for one in (before, {"mine": "b" * 64})]
    making.finish(tmp_path / "run", suites[0])
    with (
        pytest.raises(InputError, match="the program of mine is another one than when"),
        store.open_run(tmp_path / "run", suites[1], making.session(), resume=True),
    ):
        pass
    with store.open_run(tmp_path / "run", suites[0], making.session(), resume=True) as writer:
        assert len(writer.done) == 4


# Words


HOSTILE = "a|b<img src=x>\x1b[31m`c`\n# new [l](http://x) $\\frac{$"


def test_words_of_others_are_shown_and_not_obeyed(folder: Path) -> None:
    run = store.read_run(folder)
    session = msgspec.structs.replace(
        making.session(), processor=HOSTILE, packages={HOSTILE: HOSTILE}
    )
    records = [
        msgspec.structs.replace(one, reason=HOSTILE, labels={HOSTILE: [HOSTILE]})
        for one in run.records
    ]
    suite = msgspec.structs.replace(SUITE, title=HOSTILE)
    environment = store.Environment(schema=1, sessions=[session])
    shown = store.Run(suite, environment, records).harmless()
    text = msgspec.json.encode([shown.suite, shown.environment, shown.records]).decode()
    assert not any(sign in text for sign in ("<", "|", "`", "](", "$", "\\u001b", "\\n"))
    assert shown.suite.title == "a¦b‹img src=x›\\x1b⟨31m'c' # new ⟨l⟩(http://x) ¤\\frac{¤"
    assert [one.case for one in shown.records] == [one.case for one in run.records]
