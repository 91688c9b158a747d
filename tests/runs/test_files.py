"""What else lies in the folder of a run: files written whole, checkpoints."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from eigbench.errors import RunStopped
from eigbench.runs.attachments import CHECKPOINTS, Checkpoints
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
