"""The folder of a run: what is appended stays, whatever happens to the process."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from eigbench.errors import InputError, RunStopped
from eigbench.kinds.stability import StabilityCase
from eigbench.runs import record, store
from eigbench.runs.runner import attempt, run
from eigbench.runs.suite import cases, to_toml
from tests.runs import making

SUITE = making.suite()
IDS = [case.id for case in cases(SUITE)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    made = tmp_path / "run"
    making.finish(made, SUITE)
    return made


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def _resume(folder: Path) -> tuple[list[str], list[str]]:
    """What a resumed run finds there and what it measures, by id."""
    measured: list[str] = []
    with store.open_run(folder, SUITE, making.session(), resume=True) as writer:
        found = list(writer.done)
        run(cases(SUITE), making.executor(), writer, lambda record: measured.append(record.id))
    return found, measured


def test_a_run_is_what_was_written(folder: Path) -> None:
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {
        "suite.toml",
        "records.jsonl",
        "environment.json",
    }
    read = store.read_run(folder)
    assert read.suite == SUITE
    assert [record.id for record in read.records] == IDS
    assert [record.case for record in read.records] == cases(SUITE)
    assert read.environment.sessions == [making.session()]


def test_one_line_a_case(folder: Path) -> None:
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == len(IDS)
    for line, case in zip(lines, cases(SUITE), strict=True):
        assert line.endswith(b"\n")
        content = json.loads(line)
        assert content["schema"] == 1
        assert content["id"] == case.id
        assert content["samples"]["gradient_error"][1] == "nan"
        assert content["samples"]["ends"] == ["inf", "-inf"]
        assert len(content["samples"]["gradient_error"]) == SUITE.seeds


def test_a_record_is_on_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    records = tmp_path / "run" / "records.jsonl"
    with store.open_run(tmp_path / "run", SUITE, making.session(), resume=False) as writer:
        for count, case in enumerate(cases(SUITE), start=1):
            writer.append(attempt(case, making.measure))
            assert records.read_bytes().count(b"\n") == count
            assert list(writer.done) == IDS[:count]


def test_a_kill_at_any_byte_of_the_last_two_lines(folder: Path) -> None:
    records = folder / "records.jsonl"
    whole = records.read_bytes()
    lines = whole.splitlines(keepends=True)
    last = len(whole) - len(lines[-1])
    first = last - len(lines[-2])
    # Every byte around the ends of the lines and of what each record starts with; then a few.
    near = {end + n for end in (first, last, len(whole)) for n in range(-3, 64)}
    for length in sorted(
        near.union(range(first, len(whole), 41)) & {*range(first, len(whole) + 1)}
    ):
        records.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        # A report made now does without the torn line, and leaves it alone.
        assert [record.id for record in store.read_run(folder).records] == IDS[:kept]
        assert records.stat().st_size == length
        with store.open_run(folder, SUITE, making.session(), resume=True) as writer:
            assert list(writer.done) == IDS[:kept], length
        # What is left is whole lines, so that the next one starts where a line starts.
        assert records.read_bytes() == b"".join(lines[:kept]), length


@pytest.mark.parametrize("share", [0.0, 0.3, 0.77, 0.999, 1.0])
def test_a_resumed_run_is_complete_and_holds_each_case_once(folder: Path, share: float) -> None:
    records = folder / "records.jsonl"
    whole = records.read_bytes()
    cut = whole[: int(share * len(whole))]
    records.write_bytes(cut)
    found, measured = _resume(folder)
    assert found == IDS[: cut.count(b"\n")]
    assert measured == IDS[cut.count(b"\n") :]
    read = store.read_run(folder)
    assert [record.id for record in read.records] == IDS
    assert [record.session for record in read.records] == [0] * len(found) + [1] * len(measured)
    assert len(read.environment.sessions) == 2


def test_a_run_that_was_killed_before_its_first_record(tmp_path: Path) -> None:
    with store.open_run(tmp_path / "run", SUITE, making.session(), resume=False):
        pass
    (tmp_path / "run" / "records.jsonl").unlink()
    (tmp_path / "run" / "environment.json").unlink()
    assert store.read_run(tmp_path / "run").records == []
    assert _resume(tmp_path / "run") == ([], IDS)


WRITE_UNTIL_KILLED = """
import os, signal
from pathlib import Path
from eigbench.runs import store
from eigbench.runs.runner import attempt
from eigbench.runs.suite import cases
from tests.runs import making

suite = making.suite()
with store.open_run(Path("run"), suite, making.session(), resume=False) as writer:
    for case in cases(suite)[:3]:
        writer.append(attempt(case, making.measure))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_record_and_leaves_no_lock(tmp_path: Path) -> None:
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_KILLED], cwd=tmp_path, env=paths, check=False
    )
    assert killed.returncode == -9
    found, measured = _resume(tmp_path / "run")
    assert (found, measured) == (IDS[:3], IDS[3:])


@pytest.mark.parametrize("line", [1, 3])
@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:50],
        lambda line: b"",
        lambda line: b"garbage",
        lambda line: b"\0" * len(line),
        lambda line: b"[" * 10_000,
        lambda line: line.replace(b'"status":"measured"', b'"status":"done"'),
        lambda line: line.replace(b'"kind":"stability"', b'"kind":"speed"'),
        lambda line: line.replace(b'"seeds":2', b'"seeds":"2"'),
        lambda line: line.replace(b"whitening", b"white\xffening"),
        lambda line: line.replace(b'"schema":1', b'"schema":2'),
        lambda line: line.replace(b'"d":', b'"d":1'),
    ],
    ids=[
        *("cut", "blank", "garbage", "zeros", "deep", "status", "kind", "type", "bytes"),
        *("schema", "id"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number(
    folder: Path, line: int, damage: type[bytes]
) -> None:
    records = folder / "records.jsonl"
    lines = records.read_bytes().split(b"\n")
    lines[line - 1] = damage(lines[line - 1])
    records.write_bytes(b"\n".join(lines))
    before = _snapshot(folder)
    with pytest.raises(InputError, match=rf"records\.jsonl, line {line}\b"):
        store.read_run(folder)
    with (
        pytest.raises(InputError, match=rf"records\.jsonl, line {line}\b"),
        store.open_run(folder, SUITE, making.session(), resume=True),
    ):
        pass
    assert _snapshot(folder) == before


@given(st.data())
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever bytes are there instead: an `InputError`, or records that make sense."""
    folder = tmp_path_factory.mktemp("run") / "run"
    making.finish(folder, SUITE)
    name = data.draw(st.sampled_from(["records.jsonl", "environment.json", "suite.toml"]))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 127))
    (folder / name).write_bytes(content)
    try:
        read = store.read_run(folder)
    except InputError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert len(read.records) <= len(IDS)


@pytest.mark.parametrize("name", ["environment.json", "suite.toml"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b'{"schema": 1, "sessions": 3}'])
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    before = _snapshot(folder)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        store.read_run(folder)
    with (
        pytest.raises(InputError, match=name.replace(".", r"\.")),
        store.open_run(folder, SUITE, making.session(), resume=True),
    ):
        pass
    assert _snapshot(folder) == before


def _pack(folder: Path) -> None:
    records = folder / store.RECORDS
    (folder / store.PACKED).write_bytes(gzip.compress(records.read_bytes(), mtime=0))
    records.unlink()


def test_packed_records_are_read_and_a_resumed_run_unpacks_them(folder: Path) -> None:
    records = (folder / store.RECORDS).read_bytes()
    read = store.read_run(folder).records
    _pack(folder)
    assert store.read_run(folder).records == read
    before = _snapshot(folder)
    with (
        pytest.raises(InputError),
        store.open_run(folder, making.suite(gap=[0.2]), making.session(), resume=True),
    ):
        pass
    assert _snapshot(folder) == before
    assert _resume(folder) == (IDS, [])
    assert (folder / store.RECORDS).read_bytes() == records
    assert not (folder / store.PACKED).exists()


def test_packed_records_that_are_damaged_large_or_there_twice_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = (folder / store.RECORDS).read_bytes()
    _pack(folder)
    packed = (folder / store.PACKED).read_bytes()
    for content in (packed[:-9], packed[:40] + b"xxxx" + packed[44:], b"no gzip"):
        (folder / store.PACKED).write_bytes(content)
        with pytest.raises(InputError, match=r"records\.jsonl\.gz is damaged"):
            store.read_run(folder)
    (folder / store.PACKED).write_bytes(packed)
    with monkeypatch.context() as patch:
        patch.setattr(record, "LARGEST", len(records) - 1)
        with pytest.raises(InputError, match="unpacks to more than"):
            store.read_run(folder)
    (folder / store.RECORDS).write_bytes(records)
    with pytest.raises(InputError, match="remove one of them"):
        store.read_run(folder)


# Which folders are refused


def _refusal(folder: Path, *, resume: bool, gap: float = 0.1) -> str:
    before = _snapshot(folder)
    wanted = making.suite() if gap == 0.1 else making.suite(gap=[gap])
    with (
        pytest.raises(InputError) as caught,
        store.open_run(folder, wanted, making.session(), resume=resume),
    ):
        pass
    assert _snapshot(folder) == before
    return str(caught.value)


def test_a_run_is_not_written_over(folder: Path) -> None:
    assert "holds a run already; add --resume" in _refusal(folder, resume=False)


def test_another_suite_is_refused(folder: Path) -> None:
    assert "another suite" in _refusal(folder, resume=True, gap=0.2)


def test_a_run_that_is_older_than_a_setting_goes_on(folder: Path) -> None:
    text = (folder / store.SUITE).read_text("utf-8")
    (line,) = [one for one in text.splitlines(keepends=True) if one.startswith("rounds = ")]
    (folder / store.SUITE).write_text(text.replace(line, ""), "utf-8")
    assert _resume(folder) == (IDS, [])


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    assert "is not empty" in _refusal(tmp_path, resume=False)


def test_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigbench.runs.store.__version__", "99.0")
    assert "99.0" in _refusal(folder, resume=True)


def test_a_second_run_in_the_same_folder_is_refused(folder: Path) -> None:
    with store.open_run(folder, SUITE, making.session(), resume=True):
        assert "another run is writing here" in _refusal(folder, resume=True)
    assert _resume(folder) == (IDS, [])  # and not any more


def test_a_run_that_is_just_starting_elsewhere_is_respected(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"):
        assert "another run is writing here" in _refusal(tmp_path, resume=False)


def test_the_lock_is_given_back_after_an_error(folder: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        store.open_run(folder, SUITE, making.session(), resume=True),
    ):
        raise RuntimeError("on purpose")
    assert _resume(folder) == (IDS, [])


def test_the_suite_on_disk_is_the_resolved_one(folder: Path) -> None:
    assert (folder / "suite.toml").read_text(encoding="utf-8") == to_toml(SUITE)


class Full:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self.fileno, self.close = file.fileno, file.close

    def write(self, line: bytes) -> int:
        return len(line) - 1


def test_a_full_disk_ends_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    record = attempt(cases(SUITE)[0], making.measure)
    folder = tmp_path / "run"
    with store.open_run(folder, SUITE, making.session(), resume=False) as writer:
        writer._file = Full(writer._file)  # type: ignore[assignment]
        with pytest.raises(RunStopped, match=r"the disk is full.*--resume --out .*run to go on"):
            writer.append(record)
        assert record.id not in writer.done
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer._file = full
        writer._path, writer._length = Path("/dev/full"), 0
        with pytest.raises(RunStopped, match="cannot write /dev/full: No space left on device"):
            writer.append(record)


def test_a_run_knows_what_it_lacks_whatever_its_report_says(tmp_path: Path) -> None:
    suite = making.suite()
    making.finish(tmp_path, suite)
    (tmp_path / store.REPORT).write_text("a report that calls nothing partial")
    whole = store.read_run(tmp_path)
    assert whole.plan is whole.plan
    assert whole.plan == cases(suite)
    assert whole.missing == []
    cut = msgspec.structs.replace(whole, records=whole.records[1:])
    assert cut.missing == [whole.records[0].case]
    assert msgspec.structs.replace(whole, records=[]).missing == whole.plan
    # Of a method without any record, too, whose parameters no record shows.
    only = [
        r for r in whole.records if isinstance(r.case, StabilityCase) and r.case.method == "eigh"
    ]
    of_one = msgspec.structs.replace(whole, records=only)
    assert of_one.plan == whole.plan
    assert len(of_one.missing) == len(whole.plan) - len(only)


def test_the_plan_of_a_complete_run_asks_for_no_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.finish(tmp_path, making.suite())

    def refused(name: str) -> object:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr("eigbench.methods.registry.get", refused)
    assert store.read_run(tmp_path).missing == []


def test_records_are_read_in_the_order_of_the_suite(folder: Path) -> None:
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[2], lines[0], lines[3], lines[1]]))  # as workers end
    assert [record.id for record in store.read_run(folder).records] == IDS
