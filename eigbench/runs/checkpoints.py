"""Checkpoints of the case in flight: weights only, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from eigbench.errors import RunStopped
from eigbench.runs.files import write_whole

FOLDER = "checkpoints"


class Checkpoints:
    """One file a case in the folder of a run, while the case is being measured."""

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER

    def load(self, case_id: str) -> dict[str, Any] | None:
        """What was saved last, or None; `RunStopped` if the file is damaged."""
        import torch  # late: takes seconds

        path = self._path(case_id)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise RunStopped(
                f"{path} is damaged ({reason}); remove it, and its trial starts again"
            ) from error
        return state

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace what was saved before. Tensors, numbers, words, and lists and tables of them.

        `RunStopped` if it cannot be written, as on a full disk.
        """
        import torch

        content = io.BytesIO()
        torch.save(state, content)
        try:
            self._folder.mkdir(exist_ok=True)
            write_whole(self._path(case_id), content.getvalue())
        except OSError as error:
            raise RunStopped(
                f"cannot save {self._path(case_id)}: {error.strerror or error}"
            ) from error

    def discard(self, case_id: str) -> None:
        """Remove the checkpoint of a case that is recorded; with the last, the folder."""
        self._path(case_id).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, case_id: str) -> Path:
        return self._folder / f"{case_id}.pt"
