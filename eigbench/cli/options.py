"""Options that several commands share, and what they mean."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from eigbench.errors import InputError
from eigbench.runs.store import SUITE
from eigbench.runs.suite import Suite, to_toml

RUNS = Path("reports")

Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of the run. [default: reports/NAME-DATE-TIME]"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the report's path, no more.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Device = Annotated[str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:N or auto.")]
Seeds = Annotated[int | None, typer.Option(metavar="N", help="Random matrices per case.")]


def resolve_device(name: str) -> str:
    """The device to use; `InputError` if it is not there."""
    if name == "cpu":
        return name
    accepted = "accepted: cpu, cuda, cuda:N (N from 0) or auto"
    kind, colon, index = name.partition(":")
    if name != "auto" and (kind != "cuda" or (bool(colon) and not index.isdecimal())):
        raise InputError(f"--device: {name!r} is not valid; {accepted}")
    import torch  # late: takes seconds

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if count == 0:
        raise InputError(f"--device: {name!r} is not available, there is no CUDA here; use cpu")
    if index and int(index) >= count:
        raise InputError(f"--device: {name!r} does not exist; there are {count}, from cuda:0")
    return name


def require_seeds(seeds: int | None) -> None:
    """Refuse a number of seeds below 1."""
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds: {seeds} is not valid; accepted: whole numbers from 1 on")


def resolve_folder(out: Path | None, suite: Suite, *, resume: bool) -> Path:
    """The folder of the run: as asked, or a new dated one, or the newest that can be resumed."""
    if out is not None:
        if resume and not (out / SUITE).is_file():
            raise InputError(f"--resume: {out} holds no run to go on with")
        return out
    if not resume:
        stamp = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
        return RUNS / f"{suite.name}-{stamp}"
    text = to_toml(suite)
    for folder in sorted(RUNS.glob(f"{suite.name}-*"), reverse=True):
        if (folder / SUITE).is_file() and (folder / SUITE).read_text(encoding="utf-8") == text:
            return folder
    raise InputError(f"--resume: no run of this suite under {RUNS}/; name its folder with --out")
