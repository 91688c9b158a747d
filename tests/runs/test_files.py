"""What else lies in the folder of a run: files written whole, checkpoints, archives."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eigbench.errors import RunStopped
from eigbench.runs.attachments import CHECKPOINTS, Checkpoints, bundle
from eigbench.runs.store import write_whole


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, f"the disk is full, {self.parent == target.parent}")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=rf"the disk is full, True: '{path}'"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# Checkpoints

STATE = {"step": 3, "weights": {"w": torch.arange(3.0)}, "milestones": [1, 2], "rate": 0.1}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load("case") is None
    checkpoints.save("case", STATE)
    loaded = Checkpoints(tmp_path).load("case")
    assert loaded is not None
    assert torch.equal(loaded.pop("weights")["w"], torch.arange(3.0))
    assert loaded == {"step": 3, "milestones": [1, 2], "rate": 0.1}
    assert checkpoints.load("another") is None


def test_the_last_one_to_go_takes_the_folder_along(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("a", STATE)
    checkpoints.save("b", STATE)
    checkpoints.discard("a")
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["b.pt"]
    checkpoints.discard("b")
    checkpoints.discard("b")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("case", STATE)
    path = tmp_path / CHECKPOINTS / "case.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunStopped, match=r"case\.pt is damaged, .*; remove it") as caught:
        checkpoints.load("case")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice, which executes the file
    torch.save([1, 2], path)
    with pytest.raises(RunStopped, match=r"case\.pt is damaged, or not the checkpoint of"):
        checkpoints.load("case")


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    (tmp_path / CHECKPOINTS).mkdir()
    torch.save({"step": Command()}, tmp_path / CHECKPOINTS / "case.pt")
    with pytest.raises(RunStopped, match="damaged"):
        Checkpoints(tmp_path).load("case")
    assert not (tmp_path / "executed").exists()


def test_a_save_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("case", STATE)

    def full(self: Path, _target: Path) -> Path:
        raise OSError(errno.ENOSPC, "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RunStopped, match=r"cannot save .*: the disk is full"):
            checkpoints.save("case", {**STATE, "step": 4})
    loaded = checkpoints.load("case")
    assert loaded is not None
    assert loaded["step"] == 3


# Archives


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


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"PK", lambda x: x[:60] + x[70:]])
def test_a_damaged_archive_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write(tmp_path / "figures" / "old.png", b"old" * 100)
    bundle(tmp_path)
    archive = tmp_path / "figures.zip"
    archive.write_bytes(damage(archive.read_bytes()))
    write(tmp_path / "figures" / "new.png", b"new")
    bundle(tmp_path)
    assert unpacked(archive) == {"figures/new.png": b"new"}


def test_a_link_does_not_bring_another_file_into_an_archive(tmp_path: Path) -> None:
    write(tmp_path / "figures" / "one.png", b"picture")
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "figures" / "two.png").symlink_to(tmp_path / "mine")
    bundle(tmp_path)
    assert unpacked(tmp_path / "figures.zip") == {"figures/one.png": b"picture"}


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
