"""What lies beside the records of a run: checkpoints and traces."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eigbench.errors import RunStopped
from eigbench.kinds.profile import ProfileCase
from eigbench.runs.store import own_folder, write_whole

CHECKPOINTS = "checkpoints"


class Checkpoints:
    """One file a case in the folder of a run, while the case is being measured."""

    def __init__(self, run: Path) -> None:
        self._run, self._folder = run, run / CHECKPOINTS

    def load(self, case_id: str) -> dict[str, Any] | None:
        """What was saved last, or None; `RunStopped` if the file is damaged."""
        import torch  # late: takes seconds

        path = self._path(case_id)
        if not path.is_file():
            return None
        # What torch says of a file that it cannot read is no advice for a stranger's file.
        with self.own(case_id), warnings.catch_warnings(action="ignore"):
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError("no table")
        return state

    @contextmanager
    def own(self, case_id: str) -> Iterator[None]:
        """Whatever is raised inside while the checkpoint of a case is read ends the run."""
        try:
            yield
        except RunStopped:
            raise
        except Exception as error:
            raise RunStopped(
                f"{self._path(case_id)} is damaged, or not the checkpoint of this trial "
                f"({type(error).__name__}); remove it, and the trial starts again"
            ) from error

    def save(self, case_id: str, state: dict[str, Any]) -> None:
        """Replace what was saved before. Tensors, numbers, words, and lists and tables of them.

        `RunStopped` if it cannot be written, as on a full disk.
        """
        import torch

        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_whole(own_folder(self._run, CHECKPOINTS) / f"{case_id}.pt", content.getvalue())
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


TRACES = "traces"
ENDING = ".pt.trace.json.gz"
"""By this the plugin knows a trace; what stands before it, it calls the worker."""


def trace_path(case: ProfileCase) -> str:
    """Where the trace of a case is kept, as a path within the run's folder.

    A workload is a folder, which the plugin calls a run; in it is one file a method.
    """
    return f"{TRACES}/{workload_name(case)}/{contestant_name(case)}{ENDING}"


def trace_of(run: Path, case: ProfileCase) -> bytes | None:
    """The trace of a case, from the folder of its run; None if it is gone, or behind a link."""
    path = run / trace_path(case)
    if any(part.is_symlink() for part in (run / TRACES, path.parent, path)):
        return None
    return path.read_bytes() if path.is_file() else None


def workload_name(case: ProfileCase) -> str:
    """What the cases of a workload have in common, in the letters of a file's name."""
    size = {"d": case.d, "energy-": case.energy, "batch-": case.batch}
    words = [f"{name}{value:g}" for name, value in size.items() if value is not None]
    last = case.layout if case.layout != "contiguous" else None
    return "-".join(filter(None, [case.subject, case.layer, *words, case.dtype, last]))


def contestant_name(case: ProfileCase) -> str:
    """Method, parameters, and whether it is compiled."""
    words = [f"{name}-{value}" for name, value in case.parameters.items()]
    return "-".join([case.method, *words, *(["compiled"] if case.compiled else [])])
