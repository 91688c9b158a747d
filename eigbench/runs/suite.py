"""A suite: grids of cases, from TOML and from command-line options, resolved before it runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomli_w

from eigbench.errors import InputError
from eigbench.runs.axes import AXES, DEVICE, NAME, SEED, SEEDS, THRESHOLD, Axis
from eigbench.runs.case import Case, SeriesCase, StabilityCase

Kind = Literal["stability", "series"]

FILE_SPECTRUM = "file"
"""The spectrum of the user's own matrices, which come from a file instead of a family."""


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


class Grid(Axes, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One cross product of axes."""

    about: str = ""
    kind: Kind = "stability"
    narrow: list[str] = []
    """Axes of which this grid needs few values: an option narrows them to those it names, and
    replaces them only where that leaves none."""


class Matrices(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The user's own matrices, as the resolved suite remembers them."""

    file: str
    sha256: str
    count: dict[str, int]
    """How many there are of each size."""


class Suite(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Resolved, it is the whole description: the same suite gives the same cases."""

    name: str
    kind: Kind
    title: str = ""
    seeds: int = 8
    seed: int = 0
    device: str = "cpu"
    threshold: float = 0.05
    axes: Axes = msgspec.field(default_factory=Axes)
    grids: list[Grid] = []
    matrices: Matrices | None = None


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
        place = f"grids[{position}]"
        _check_axes(place, grid)
        missing = _required(grid) - set(_given(suite.axes)) - set(_given(grid))
        if missing:
            raise InputError(f"{place} has no {', '.join(sorted(missing))}")
        unknown = [name for name in grid.narrow if name not in AXES]
        if unknown:
            raise InputError(
                f"{place}.narrow: {unknown[0]!r} is no axis; axes are {', '.join(AXES)}"
            )
    for size, count in suite.matrices.count.items() if suite.matrices else ():
        _read("matrices.count", AXES["d"], size)
        _read(f"matrices.count.{size}", SEEDS, count)
    return suite


def _check_axes(place: str, axes: Axes) -> None:
    for name, values in _given(axes).items():
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
    grids = []
    for grid in suite.grids:
        changes = {}
        for name, values in options.items():
            own = getattr(grid, name) or getattr(suite.axes, name)
            kept = [value for value in own or [] if value in values]
            changes[name] = kept if name in grid.narrow and kept else values
        is_grid_of_axes = grid.kind == "stability"
        grids.append(msgspec.structs.replace(grid, **changes) if is_grid_of_axes else grid)
    return msgspec.structs.replace(suite, grids=grids)


def to_toml(suite: Suite) -> str:
    """The resolved suite as TOML, the same text for the same suite."""
    return tomli_w.dumps(msgspec.to_builtins(suite))


def cases(suite: Suite) -> list[Case]:
    """Every case of the suite, in order, each once."""
    unique: dict[str, Case] = {}
    for grid in suite.grids:
        build = _series_cases if grid.kind == "series" else _stability_cases
        for case in build(suite, grid):
            unique.setdefault(case.id, case)
    return list(unique.values())


def _given(axes: Axes) -> dict[str, list[Any]]:
    """The axes that have values."""
    names = Axes.__struct_fields__
    return {name: getattr(axes, name) for name in names if getattr(axes, name) is not None}


def _required(grid: Grid) -> set[str]:
    """The axes without which a grid has no cases."""
    series = {"ratio", "dtype"}
    return series if grid.kind == "series" else set(Axes.__struct_fields__) - {"ratio"}


def _series_cases(suite: Suite, grid: Grid) -> Iterator[Case]:
    values = {**_given(suite.axes), **_given(grid)}
    for ratio, dtype in itertools.product(values["ratio"], values["dtype"]):
        yield SeriesCase(ratio=ratio, threshold=suite.threshold, dtype=dtype)


def _stability_cases(suite: Suite, grid: Grid) -> Iterator[Case]:
    values = {**_given(suite.axes), **_given(grid)}
    # The method varies fastest, so that a partial run compares methods on the same cases.
    names = ("dtype", "epsilon", "scale", "loss", "gap", "iterations", "start", "method")
    for (spectrum, d, seeds), *point in itertools.product(
        _families(suite, values), *(values[name] for name in names)
    ):
        dtype, epsilon, scale, loss, gap, iterations, start, method = point
        yield StabilityCase(
            method=method,
            parameters=_taken(method, {"iterations": iterations, "seed": start}),
            d=d,
            spectrum=spectrum,
            gap=gap if _takes_gap(spectrum) else None,
            scale=scale,
            dtype=dtype,
            epsilon=epsilon,
            loss=loss,
            seeds=seeds,
            seed=suite.seed,
            device=suite.device,
            matrices=suite.matrices.sha256[:16] if suite.matrices else None,
        )


def _families(suite: Suite, values: Mapping[str, list[Any]]) -> list[tuple[str, int, int]]:
    """Spectrum, d and number of matrices: the suite's own, or those of the user's file."""
    if suite.matrices is None:
        return [(s, d, suite.seeds) for s in values["spectrum"] for d in values["d"]]
    return [(FILE_SPECTRUM, int(d), count) for d, count in suite.matrices.count.items()]


def _taken(method: str, parameters: dict[str, int]) -> dict[str, int]:
    """Those of the parameters that the method has."""
    from eigbench.methods.registry import get  # late: torch

    names = get(method).parameter_names()
    return {name: value for name, value in parameters.items() if name in names}


def _takes_gap(spectrum: str) -> bool:
    from eigbench.spectra import SPECTRA  # late: NumPy

    return spectrum in SPECTRA and SPECTRA[spectrum].uses_gap
