"""A suite: grids of cases, from TOML and from command-line options, resolved before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from eigbench.errors import InputError
from eigbench.runs.axes import AXES, DEVICE, NAME, SEED, SEEDS, THRESHOLD, Axis
from eigbench.runs.case import Case, ProfileCase
from eigbench.runs.grids import given, grid_cases, kind_of, required
from eigbench.runs.structure import Axes, Grid, Suite
from eigbench.runs.training import changed


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
        return check(msgspec.toml.decode(path.read_bytes(), type=Suite))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a valid suite: {error}") from error
    except RecursionError:
        raise InputError(f"{path} is not a valid suite: it is nested too deep") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check(suite: Suite) -> Suite:
    """Refuse values that nothing takes, with their place in the suite."""
    for name, axis in (("name", NAME), ("device", DEVICE), ("seeds", SEEDS), ("seed", SEED)):
        _read(name, axis, getattr(suite, name))
    _read("threshold", THRESHOLD, suite.threshold)
    if not suite.grids:
        raise InputError("there are no grids; a suite has one [[grids]] or more")
    _check_axes("axes", suite.axes)
    for position, grid in enumerate(suite.grids):
        _check_grid(f"grids[{position}]", suite, grid)
    trains = any(kind_of(suite, grid) == "train" for grid in suite.grids)
    if suite.training is not None and not trains:
        raise InputError("there is a [training], but no grid of kind train")
    for size, count in suite.matrices.count.items() if suite.matrices else ():
        _read("matrices.count", AXES["d"], size)
        _read(f"matrices.count.{size}", SEEDS, count)
    for name in suite.scales:
        try:
            at_scale(suite, name)
        except InputError as error:
            raise InputError(f"scales.{name}: {error}") from None
    return suite


def _check_grid(place: str, suite: Suite, grid: Grid) -> None:
    _check_axes(place, grid)
    kind = kind_of(suite, grid)
    if kind == "train" and suite.training is None:
        raise InputError(f"{place} trains, but the suite has no [training]")
    if grid.seeds is not None:
        _read(f"{place}.seeds", SEEDS, grid.seeds)
    if grid.trace and kind != "profile":
        raise InputError(f"{place}.trace: only profiles leave traces, and this is of kind {kind}")
    values = {**given(suite.axes), **given(grid)}
    missing = required(kind, values) - set(values)
    if missing:
        raise InputError(f"{place} has no {', '.join(sorted(missing))}")
    for list_name, names in (("narrow", grid.narrow), ("only", grid.only)):
        for name in names:
            if name not in AXES:
                axes = ", ".join(AXES)
                raise InputError(f"{place}.{list_name}: {name!r} is no axis; axes are {axes}")


def _check_axes(place: str, axes: Axes) -> None:
    for name, values in given(axes).items():
        if not values:
            raise InputError(f"{place}.{name} is empty")
        for value in values:
            _read(f"{place}.{name}", AXES[name], value)


def _read(place: str, axis: Axis, value: Any) -> None:
    try:
        axis.read(value)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def override(suite: Suite, options: Mapping[str, list[Any]]) -> Suite:
    """The suite with some axes replaced in every grid, or narrowed where the grid says so."""
    overridden = (_overridden(suite, grid, options) for grid in suite.grids)
    return msgspec.structs.replace(suite, grids=[grid for grid in overridden if grid is not None])


def _overridden(suite: Suite, grid: Grid, options: Mapping[str, list[Any]]) -> Grid | None:
    """One grid, or None where the options leave nothing of what it asks."""
    if kind_of(suite, grid) == "series":
        return grid
    changes = {}
    for name, values in options.items():
        own = getattr(grid, name) or getattr(suite.axes, name)
        kept = [value for value in own or [] if value in values]
        if name in grid.only and not kept:
            return None
        changes[name] = kept if name in (*grid.narrow, *grid.only) and kept else values
    return msgspec.structs.replace(grid, **changes)


def at_scale(suite: Suite, name: str) -> Suite:
    """The suite at one of its scales; what the others would be is left out."""
    if name not in suite.scales or suite.training is None:
        known = ", ".join(suite.scales) or "none"
        raise InputError(f"suite {suite.name!r} has no scale {name!r}; it has: {known}")
    scale = suite.scales[name]
    return msgspec.structs.replace(
        suite,
        seeds=scale.seeds or suite.seeds,
        training=changed(suite.training, scale.training),
        scale=name,
        scales={},
    )


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


def cases(suite: Suite) -> list[Case]:
    """Every case of the suite, in order, each once."""
    found = [case for grid in suite.grids for case in grid_cases(suite, grid)]
    taken = {name for case in found for name in getattr(case, "parameters", ())}
    for name in suite.parameters:
        if name not in taken:
            raise InputError(f"parameters (--set): no method here has a parameter {name!r}")
    if suite.kind == "train":
        # Every cell of every grid once before any has its second trial.
        found.sort(key=lambda case: getattr(case, "seed", 0))
    chosen: dict[str, Case] = {}
    for case in found:
        once = msgspec.structs.replace(case, trace=False) if isinstance(case, ProfileCase) else case
        # Of two that differ in this alone, the one that leaves a trace.
        if once.id not in chosen or case != once:
            chosen[once.id] = case
    return list(chosen.values())
