"""Options that several commands share, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from eigbench.axes import (
    DEVICE,
    MINUTES,
    MOST_CASES,
    PART,
    SEEDS,
    THREADS,
    WORKERS,
    Axis,
    read_parameter,
)
from eigbench.cli.axis_options import ALL
from eigbench.errors import InputError, at, printable
from eigbench.kinds.profile import REFERENCES
from eigbench.runs.store import SUITE
from eigbench.runs.suite import Suite, to_toml

if TYPE_CHECKING:
    from eigbench.runs.executors import Means

RUNS = Path("reports")
WHERE = "Where it is measured"
"""The heading of options in the help of a command."""


def say(line: str) -> None:
    """One line on standard error."""
    typer.echo(f"eigbench: {printable(line)}", err=True)


def asked(axis: Axis, **more: Any) -> Any:
    """The option by which a command is given one value of an axis."""
    return typer.Option(axis.option, **{"metavar": axis.metavar, "help": axis.help, **more})


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path of the report.")]
Seeds = Annotated[str | None, asked(SEEDS)]


def _load_plugins(files: list[Path] | None) -> list[Path] | None:
    for file in files or []:
        from eigbench.methods import plugins  # late: torch

        with at("--plugin"):
            names = plugins.load(file)
            for name in {*chain(*REFERENCES.values())}.intersection(names):
                raise InputError(f"{file}: {name!r} is what methods are compared with")
            if ALL in names:
                raise InputError(f"{file}: {ALL!r} stands for every method; rename yours")
    return files


# By a callback, so that the methods are there when the command itself looks at its other options.
Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        callback=_load_plugins,
        help="A Python file that defines a method; may be repeated.",
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """The options of every command that runs a suite."""

    device: Annotated[str | None, asked(DEVICE)] = None
    most_cases: Annotated[str | None, asked(MOST_CASES)] = None
    max_minutes: Annotated[str | None, asked(MINUTES)] = None
    workers: Annotated[
        str | None,
        asked(WORKERS, show_default="what is worth it", rich_help_panel=WHERE),
    ] = None
    threads: Annotated[
        str | None,
        asked(THREADS, show_default="1; of trainings and times all", rich_help_panel=WHERE),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|NAME",
            help="A Dask scheduler's address; or slurm, pbs, …, with dask-jobqueue.",
            rich_help_panel=WHERE,
        ),
    ] = None
    part: Annotated[str | None, asked(PART, rich_help_panel=WHERE)] = None
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE...", help="Parameters of methods, such as degree=100."
        ),
    ] = None
    plugin: Plugin = None
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the run.", show_default=f"{RUNS}/NAME-DATE-TIME"
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was interrupted.")
    ] = False
    quiet: Quiet = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Do not show progress.")] = (
        False
    )

    def applied(self, suite: Suite, seeds: str | None = None) -> Suite:
        """The suite with the seeds, device and parameters that were given in place of its own."""
        given = dict(map(_setting, self.parameters or []))
        return msgspec.structs.replace(
            suite,
            seeds=suite.seeds if seeds is None else SEEDS.read(seeds),
            device=resolve_device(suite.device if self.device is None else self.device),
            parameters={**suite.parameters, **given},
            most_cases=(
                suite.most_cases if self.most_cases is None else MOST_CASES.read(self.most_cases)
            ),
        )

    def minutes(self) -> float | None:
        """After how many minutes the run ends; None where it ends with its last case."""
        return None if self.max_minutes is None else float(MINUTES.read(self.max_minutes))

    def means(self) -> Means:
        """What it is measured with."""
        # Late: a tenth of the time in which the command line starts.
        from eigbench.runs.executors import Means
        from eigbench.runs.workers import BATCH_SYSTEMS

        workers = None if self.workers is None else int(WORKERS.read(self.workers))
        threads = None if self.threads is None else int(THREADS.read(self.threads))
        is_batch_system = self.cluster in BATCH_SYSTEMS
        if self.cluster is not None and not is_batch_system:
            if ":" not in self.cluster:
                names = ", ".join(BATCH_SYSTEMS)
                raise InputError(
                    f"--cluster: {self.cluster!r} is not valid; accepted: the address of a "
                    f"scheduler, such as tcp://10.0.0.1:8786, or {names}"
                )
            if workers is not None:
                raise InputError("--workers: a scheduler has its own workers; leave it out")
        if is_batch_system and not workers:
            raise InputError(
                f"--cluster {self.cluster} needs --workers N, how many jobs to ask for"
            )
        return Means(workers=workers, cluster=self.cluster, threads=threads)

    def part_of_all(self) -> tuple[int, int]:
        """Which part of how many is run: 1 of 1 by default."""
        if self.part is None:
            return 1, 1
        part, parts = map(int, PART.read(self.part).split("/"))
        if part > parts:
            raise InputError(f"--part: {self.part!r} is not valid; accepted: {PART.accepts()}")
        return part, parts

    def folder(self, suite: Suite) -> Path:
        """Where the run goes: as asked, or a new dated folder, or the newest to be resumed."""
        if self.out is not None:
            if self.resume and not (self.out / SUITE).is_file():
                raise InputError(f"--resume: {self.out} holds no run to go on with")
            return self.out
        if not self.resume:
            stamp = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
            return RUNS / f"{suite.name}-{stamp}"
        for folder in sorted(RUNS.glob(f"{suite.name}-*"), reverse=True):
            if not (folder / SUITE).is_file():
                continue
            try:
                if (folder / SUITE).read_text(encoding="utf-8") == to_toml(suite):
                    return folder
            except (OSError, UnicodeDecodeError):
                say(f"{folder} is passed over: its {SUITE} cannot be read")
        raise InputError(
            f"--resume: no run of this suite under {RUNS}/; name its folder with --out"
        )


def resolve_device(name: str) -> str:
    """The device to use; `InputError` if it is not there."""
    DEVICE.read(name)
    if name == "cpu":
        return name
    import torch  # late: takes seconds

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    if count == 0:
        raise InputError(f"--device: {name!r} is not available, there is no CUDA here; use cpu")
    index = name.partition(":")[2]
    if index and int(index) >= count:
        raise InputError(f"--device: {name!r} does not exist; there are {count}, from cuda:0")
    return name


def _setting(word: str) -> tuple[str, int | float | bool]:
    name, equals, value = word.partition("=")
    if name and equals:
        for read in (int, float, {"true": True, "false": False}.__getitem__):
            try:
                number = read(value)
            except (ValueError, KeyError):
                continue
            return name, read_parameter(name, number, f"--set {name}")
    raise InputError(f"--set: {word!r} is not NAME=VALUE with a number, true or false")
