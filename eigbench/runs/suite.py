"""A suite: grids of cases, from TOML and from command-line options, resolved before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import tomli_w

from eigbench.axes import (
    AXES,
    DEVICE,
    MOST_CASES,
    NAME,
    SEED,
    SEEDS,
    SETTINGS,
    THRESHOLD,
    read_parameter,
)
from eigbench.errors import InputError, at
from eigbench.kinds import KINDS, Case
from eigbench.kinds.base import Matrices, ParameterNames, Span, changed
from eigbench.kinds.profile import Profiling
from eigbench.kinds.train import Training
from eigbench.methods.registry import fingerprint, parameter_names


class Axes(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values that each axis takes. An axis left out takes the suite's values."""

    method: list[str] | None = None
    d: list[int] | None = None
    spectrum: list[str] | None = None
    gap: list[float] | None = None
    scale: list[float] | None = None
    dtype: list[str] | None = None
    epsilon: list[float] | None = None
    iterations: list[int] | None = None
    loss: list[str] | None = None
    start: list[int] | None = None
    """Seeds of a method's own random numbers, such as power iteration's starts."""
    ratio: list[float] | None = None
    model: list[str] | None = None
    layer: list[str] | None = None
    components: list[int] | None = None
    energy: list[float] | None = None
    truncation: list[str] | None = None
    function: list[str] | None = None
    situation: list[str] | None = None
    subject: list[str] | None = None
    batch: list[int] | None = None
    layout: list[str] | None = None
    compiled: list[bool] | None = None


class Grid(Axes, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One cross product of axes."""

    about: str = ""
    kind: str | None = None
    """The suite's own, if it is left out."""
    seeds: int | None = None
    """Matrices per case or trials per cell, if not as many as the suite's."""
    trace: bool = False
    """Whether the profiles of this grid leave traces."""
    narrow: list[str] = []
    """Axes of which this grid has few values. An option keeps those that it names of them; if it
    names none of them, its own values take their place."""
    only: list[str] = []
    """Axes on whose values the question of this grid depends. An option keeps those that it names
    of them; if it names none of them, the grid is left out."""
    without: list[str] = []
    """Methods that would take too long in this grid: no option brings them in."""


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to shorten a suite for a machine: fewer trials, smaller matrices, a changed recipe."""

    about: str = ""
    seeds: Annotated[int, msgspec.Meta(ge=1)] | None = None
    largest_d: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Larger sizes are left out, and a grid with no other."""
    training: dict[str, Any] = {}


class Suite(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Resolved, it is the whole description: the same suite gives the same cases."""

    name: str
    kind: str
    """The kind of case of every grid that names no other: one of `kinds.KINDS`."""
    title: str = ""
    seeds: int = 8
    seed: int = 0
    device: str = "cpu"
    threshold: float = 0.05
    parameters: dict[str, int | float | bool] = {}
    """Values of methods' own parameters, for every method that has them."""
    axes: Axes = msgspec.field(default_factory=Axes)
    grids: list[Grid] = []
    matrices: Matrices | None = None
    training: Training | None = None
    profiling: Profiling = msgspec.field(default_factory=Profiling)
    compare: str = ""
    """What a training suite repeats of the paper, such as "figure-2", or "table-2 table-5"."""
    most_cases: int = 100_000
    """A suite with more is refused: each takes a kilobyte before the first is measured."""
    plugins: dict[str, str] = {}
    """By method that is not part of eigbench, the SHA-256 of its program. Set by what runs it."""
    scale: str = ""
    """The scale that was applied; a suite with `scales` and none applied is at its own."""
    scales: dict[str, Scale] = {}


def shipped() -> dict[str, Path]:
    """The suites that come with the package, by name: in the wheel, or beside the source."""
    package = Path(str(files("eigbench")))
    folders = [package / "suites", package.parent / "suites"]
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else {path.stem: path for path in sorted(found.glob("*.toml"))}


def find(name_or_file: str) -> Path:
    """The file of a suite, given as a path or by the name of a shipped one."""
    path = Path(name_or_file)
    if path.suffix == ".toml" and path.is_file():
        return path
    suites = shipped()
    name = path.stem if path.suffix == ".toml" else name_or_file
    if name in suites and path.name == name_or_file:
        return suites[name]
    raise InputError(f"no suite {name_or_file!r}; give a .toml file or one of: {', '.join(suites)}")


def load(path: Path) -> Suite:
    """Read and check a suite file; `InputError` says what is wrong in it and where."""
    try:
        suite = msgspec.toml.decode(path.read_bytes(), type=Suite)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a valid suite: {error}") from error
    except RecursionError:
        raise InputError(f"{path} is not a valid suite: it is nested too deep") from None
    with at(str(path)):
        return check(suite)


def check(suite: Suite) -> Suite:
    """Refuse values that nothing takes, with their place in the suite."""
    for axis in (NAME, DEVICE, SEEDS, SEED, THRESHOLD, MOST_CASES):
        axis.read(getattr(suite, axis.name), axis.name)
    _require_kind("kind", suite.kind)
    if not suite.grids:
        raise InputError("there are no grids; a suite has one [[grids]] or more")
    _check_axes("axes", suite.axes)
    for position, grid in enumerate(suite.grids):
        _check_grid(f"grids[{position}]", suite, grid)
    trains = any(kind_of(suite, grid) == "train" for grid in suite.grids)
    if suite.training is not None and not trains:
        raise InputError("there is a [training], but no grid of kind train")
    for name, value in suite.parameters.items():
        read_parameter(name, value, f"parameters.{name}")
    if suite.training is not None:
        SETTINGS["data"].read(suite.training.data, "training.data")
    if suite.matrices is not None:
        _check_matrices(suite.matrices)
    for name in suite.scales:
        with at(f"scales.{name}"):
            at_scale(suite, name)
    _require_finite("", msgspec.to_builtins(suite))
    return suite


def _require_finite(place: str, value: Any) -> None:
    """Of everything in a suite: JSON has no infinities, and a record of such a case no line."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _require_finite(f"{place}.{name}" if place else str(name), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place}: {value!r} is not valid; accepted: finite numbers")


def _check_matrices(matrices: Matrices) -> None:
    if "\0" in matrices.file:
        raise InputError(f"matrices.file: {matrices.file!r} is not the name of a file")
    for size, count in matrices.count.items():
        AXES["d"].read(size, "matrices.count")
        SEEDS.read(count, f"matrices.count.{size}")


def _check_grid(place: str, suite: Suite, grid: Grid) -> None:
    _check_axes(place, grid)
    kind = kind_of(suite, grid)
    _require_kind(f"{place}.kind", kind)
    if kind == "train" and suite.training is None:
        raise InputError(f"{place} trains, but the suite has no [training]")
    if grid.seeds is not None:
        SEEDS.read(grid.seeds, f"{place}.seeds")
    if grid.trace and kind != "profile":
        raise InputError(f"{place}.trace: only profiles leave traces, and this is of kind {kind}")
    values = {**given(suite.axes), **given(grid)}
    missing = KINDS[kind].required(values) - set(values)
    if missing:
        raise InputError(f"{place} has no {', '.join(sorted(missing))}")
    for list_name, names in (("narrow", grid.narrow), ("only", grid.only)):
        for name in names:
            if name not in AXES:
                axes = ", ".join(AXES)
                raise InputError(f"{place}.{list_name}: {name!r} is no axis; axes are {axes}")


def _require_kind(place: str, kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"{place}: {kind!r} is not valid; accepted: {', '.join(KINDS)}")


def _check_axes(place: str, axes: Axes) -> None:
    for name, values in given(axes).items():
        if not values:
            raise InputError(f"{place}.{name} is empty")
        for value in values:
            AXES[name].read(value, f"{place}.{name}")


def override(suite: Suite, options: Mapping[str, list[Any]]) -> Suite:
    """The suite with some axes replaced in every grid, or narrowed where the grid says so.

    `InputError` if no grid is about such values.
    """
    overridden = (_overridden(suite, grid, options) for grid in suite.grids)
    grids = [grid for grid in overridden if grid is not None]
    if not grids:
        asked = (f"{AXES[name].option} {' '.join(map(str, v))}" for name, v in options.items())
        there = []
        for name in dict.fromkeys(name for grid in suite.grids for name in grid.only):
            values = [str(value) for grid in suite.grids for value in getattr(grid, name) or ()]
            there.append(f"{AXES[name].option} {', '.join(dict.fromkeys(values))}")
        raise InputError(
            f"{'; '.join(asked)}: the suite {suite.name!r} has nothing about that"
            + (f"; it has {'; '.join(there)}" if there else "")
        )
    return msgspec.structs.replace(suite, grids=grids)


def _overridden(suite: Suite, grid: Grid, options: Mapping[str, list[Any]]) -> Grid | None:
    """One grid, or None where the options leave nothing of what it asks."""
    if not KINDS[kind_of(suite, grid)].takes_options:
        return grid
    changes = {}
    for name, values in options.items():
        own = getattr(grid, name) or getattr(suite.axes, name)
        kept = [value for value in own or [] if value in values]
        if name in grid.only and not kept:
            return None
        chosen = kept if name in (*grid.narrow, *grid.only) and kept else values
        changes[name] = [value for value in chosen if value not in grid.without]
        if not changes[name]:
            return None
    return msgspec.structs.replace(grid, **changes)


def at_scale(suite: Suite, name: str) -> Suite:
    """The suite at one of its scales; what the others would be is left out."""
    if name not in suite.scales:
        known = ", ".join(suite.scales) or "none"
        raise InputError(f"suite {suite.name!r} has no preset {name!r}; it has: {known}")
    scale = suite.scales[name]
    if scale.training and suite.training is None:
        raise InputError(f"the preset {name!r} changes a [training], and the suite has none")
    return msgspec.structs.replace(
        suite,
        seeds=scale.seeds or suite.seeds,
        training=suite.training and changed(suite.training, scale.training),
        grids=[own for grid in suite.grids if (own := _at_most(grid, scale.largest_d))],
        scale=name,
        scales={},
    )


def _at_most(grid: Grid, largest: int | None) -> Grid | None:
    """The grid without larger matrices; None if nothing is left."""
    if largest is None or grid.d is None:
        return grid
    sizes = [d for d in grid.d if d <= largest]
    return msgspec.structs.replace(grid, d=sizes) if sizes else None


def to_toml(suite: Suite) -> str:
    """The resolved suite as TOML, the same text for the same suite."""
    return tomli_w.dumps(_without_none(msgspec.to_builtins(suite)))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is left out is None."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in table.items()
        if value is not None
    }


def given(axes: Axes) -> dict[str, list[Any]]:
    """The axes that have values."""
    names = Axes.__struct_fields__
    return {name: getattr(axes, name) for name in names if getattr(axes, name) is not None}


def kind_of(suite: Suite, grid: Grid) -> str:
    """What a grid asks: its own kind, or the suite's."""
    return grid.kind or suite.kind


def programs(suite: Suite) -> dict[str, str]:
    """By method of the suite that is not part of eigbench, the SHA-256 of its program."""
    chosen = {name for axes in (suite.axes, *suite.grids) for name in axes.method or ()}
    found = {name: fingerprint(name) for name in sorted(chosen)}
    return {name: sha256 for name, sha256 in found.items() if sha256}


def cases(suite: Suite, names: ParameterNames = parameter_names) -> list[Case]:
    """Every case of the suite, in order, each once.

    `names` gives the parameters that a method accepts; the usual one imports the method, and torch.
    """
    every = (case for grid in suite.grids for case in _grid_cases(suite, grid, names))
    # One by one, so that a grid of hundreds of millions is not in memory before it is refused.
    found = [*islice(every, suite.most_cases + 1)]
    if len(found) > suite.most_cases:
        raise InputError(
            f"suite {suite.name!r} has more than {suite.most_cases} cases: the values of a grid's "
            "axes multiply; name fewer, or raise the limit with --most-cases"
        )
    accepted = {name for case in found for name in getattr(case, "parameters", ())}
    for name in suite.parameters:
        if name not in accepted:
            raise InputError(f"parameters (--set): no method here has a parameter {name!r}")
    if KINDS[suite.kind].has_trials:
        # Every cell of every grid once before any has its second trial.
        found.sort(key=lambda case: getattr(case, "seed", 0))
    chosen: dict[str, Case] = {}
    for case in found:
        question = case.question
        # Of two that differ in this alone, the one that leaves a trace.
        if question.id not in chosen or case != question:
            chosen[question.id] = case
    return list(chosen.values())


def _grid_cases(suite: Suite, grid: Grid, names: ParameterNames) -> Iterator[Case]:
    span = Span(
        values={**given(suite.axes), **given(grid)},
        parameters=suite.parameters,
        seeds=suite.seeds if grid.seeds is None else grid.seeds,
        seed=suite.seed,
        device=suite.device,
        threshold=suite.threshold,
        trace=grid.trace,
        matrices=suite.matrices,
        training=suite.training,
        profiling=suite.profiling,
        parameter_names=names,
    )
    yield from KINDS[kind_of(suite, grid)].expand(span)
