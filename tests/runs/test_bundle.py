"""Pictures and traces in one file each."""

from __future__ import annotations

import zipfile
from pathlib import Path

from eigbench.runs.store import bundle


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def unpacked(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_folders_become_files_that_unpack_to_them(tmp_path: Path) -> None:
    write(tmp_path / "records.jsonl", b"records")
    write(tmp_path / "figures" / "one.png", b"picture")
    write(tmp_path / "traces" / "workload" / "hybrid.pt.trace.json.gz", b"trace")
    bundle(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["figures.zip", "records.jsonl", "traces.zip"]
    assert unpacked(tmp_path / "figures.zip") == {"figures/one.png": b"picture"}
    assert unpacked(tmp_path / "traces.zip") == {
        "traces/workload/hybrid.pt.trace.json.gz": b"trace"
    }


def test_a_later_session_adds_to_what_is_there_and_replaces_what_it_made_again(
    tmp_path: Path,
) -> None:
    write(tmp_path / "traces" / "a", b"first")
    write(tmp_path / "traces" / "b", b"first")
    bundle(tmp_path)
    write(tmp_path / "traces" / "b", b"second")
    bundle(tmp_path)
    assert unpacked(tmp_path / "traces.zip") == {"traces/a": b"first", "traces/b": b"second"}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "figures" / "picture.png", b"picture")
        bundle(tmp_path / name)
    first, second = ((tmp_path / name / "figures.zip").read_bytes() for name in ("one", "two"))
    assert first == second


def test_a_run_without_them_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "records.jsonl", b"records")
    bundle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]
