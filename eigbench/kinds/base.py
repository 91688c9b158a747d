"""What a kind of case is: the question it asks, the grid it spans, and what measures it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import msgspec

from eigbench.errors import InputError

if TYPE_CHECKING:
    from eigbench.kinds.profile import Keep, Profiling
    from eigbench.kinds.train import Checkpoints, Training, Watch
    from eigbench.spectra import Numbers

Parameters = dict[str, int | float | bool | None]
"""A method's parameters by name. Those that it has by default are left out."""

DIGITS = 9
"""Significant digits of a recorded value: as many as tell all numbers of float32 apart."""

Values = Mapping[str, Sequence[Any]]
"""The values of each axis, by its name."""

ParameterNames = Callable[[str], Collection[str]]
"""The names of the parameters that a method accepts."""


Counts = Iterator[tuple[Iterable[str], Collection[int]]]
"""Metrics, and how many values each may have; `:` marks the name of a label."""

Measure = Callable[[Any], tuple[dict[str, list[float]], dict[str, list[str]]]]
"""What measures one case: raw numbers and raw words by metric."""


class CaseBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One frozen point of a suite's grid, with an id that depends on nothing but its content."""

    always_finite: ClassVar[bool] = False
    """Whether a whole record holds no NaN and no infinity."""

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits, the same on every machine."""
        content = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(content).hexdigest()[:16]

    @property
    def kind(self) -> str:
        """The name of its kind, as a suite and a record have it."""
        return str(self.__struct_config__.tag)

    @property
    def question(self) -> Self:
        """The case without what changes no result: a suite asks each question once."""
        return self

    @property
    def cell(self) -> Self:
        """The case without its random seed, if several cases are trials of one cell."""
        return self

    @property
    def measured_with(self) -> CaseBase:
        """What all cases have in common that are measured at once with this one: by default itself.

        They follow one another in a plan, and a run is not ended between them.
        """
        return self

    def counts(self, lengths: Mapping[str, int]) -> Counts:  # noqa: ARG002
        """What a whole record of the case has, by how many values there are of each metric."""
        yield from ()


class MethodCase(CaseBase, frozen=True, kw_only=True):
    """A case that is about one method."""

    # Every kind declares these itself, because the order of its fields is part of its ids.
    if TYPE_CHECKING:
        method: str
        parameters: Parameters

    @property
    def iterations(self) -> int | None:
        """K, for a method that has it."""
        K = self.parameters.get("iterations")
        return None if K is None else int(K)


class Matrices(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The user's own matrices, as the resolved suite remembers them."""

    file: str
    sha256: str
    count: dict[str, int]
    """How many there are of each size."""


Settings = TypeVar("Settings", bound=msgspec.Struct)


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with those changed that are not None; `InputError` for a wrong one."""
    given = {name: value for name, value in changes.items() if value is not None}
    kind = type(settings)
    try:
        return msgspec.convert({**msgspec.to_builtins(settings), **given}, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{kind.__name__.lower()}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Span:
    """One grid of a suite, with all that the suite shares: from it a kind makes its cases."""

    values: Values
    """By axis: the grid's own, or the suite's."""
    parameters: Mapping[str, int | float | bool]
    """Values of methods' own parameters, for every method that has them."""
    seeds: int
    """Matrices per case, or trials per cell."""
    seed: int
    device: str
    threshold: float
    """The relative error that the paper's series may have."""
    trace: bool
    matrices: Matrices | None
    training: Training | None
    profiling: Profiling
    parameter_names: ParameterNames

    def points(self, *names: str) -> Iterator[dict[str, Any]]:
        """Every combination of the values of these axes, the last of which varies fastest."""
        for point in itertools.product(*(self.values[name] for name in names)):
            yield dict(zip(names, point, strict=True))

    def runs_of_methods(self, *names: str) -> Iterator[dict[str, Any]]:
        """Likewise, with every method's parameters at every K and start; the method is fastest.

        So a run that is cut short has compared the methods on the same cases.
        """
        for point in self.points(*names, "iterations", "start", "method"):
            given = {"iterations": point.pop("iterations"), "seed": point.pop("start")}
            parameters = self.accepted_parameters(point["method"], **given)
            yield {**point, "parameters": parameters, "seed": self.seed, "device": self.device}

    def accepted_parameters(self, method: str, **parameters: Any) -> Parameters:
        """Those of these parameters, and of the suite's, that the method accepts."""
        names = self.parameter_names(method)
        given = {**parameters, **self.parameters}
        return {name: value for name, value in given.items() if name in names}


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What measuring a plan needs besides its cases, and where it keeps things on the way."""

    plan: Sequence[CaseBase]
    matrices: Matrices | None = None
    training: Training | None = None
    checkpoints: Checkpoints | None = None
    """Where a training keeps its state; None if nowhere."""
    watch: Watch | None = None
    """What a training calls after every step."""
    keep_trace: Keep | None = None
    """What keeps the trace of a profile."""

    @cached_property
    def user_matrices(self) -> Mapping[int, Numbers]:
        """The user's matrices by size; `InputError` if the file has changed since it was named."""
        if self.matrices is None:
            return {}
        from eigbench.data.matrices import load_matrices  # late: NumPy

        loaded = load_matrices(Path(self.matrices.file))
        if loaded.sha256 != self.matrices.sha256:
            raise InputError(f"{self.matrices.file} has changed since this run was started")
        return loaded.by_size


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of case. To add one is to write one file, and to name or `register` what it defines.

    What lies above the kinds is named as "module:function", and imported by who needs it.
    """

    case: type[CaseBase]
    required: Callable[[Values], frozenset[str] | set[str]]
    """The axes without which a grid of these values has no cases."""
    expand: Callable[[Span], Iterator[Any]]
    """The cases of one grid, in order."""
    measurer: str
    """A function of `Tools`: it gives the one that measures a case, a `Measure`.

    `InputError` if the matrices or images of the suite cannot be had.
    """
    part: str
    """The part of a report that shows such cases: a function of `Frames`, see `report.render.Part`.

    Kinds that name the same one are shown together.
    """
    comparison: str
    """The rule by which two records of a case are compared, see `compare.rules.Rule`."""
    may_differ: tuple[str, ...] = ("device",)
    """Fields in which two cases may differ and still be compared."""
    has_trials: bool = False
    """Whether a case is one trial of several: each cell has its first before any its second."""
    timed: bool = False
    """Whether its cases are about time: nothing else may run on the machine meanwhile."""
    takes_options: bool = True
    """Whether options of the command line replace the axes of its grids."""

    @property
    def name(self) -> str:
        """As a suite and a record have it: the tag of its cases."""
        return str(self.case.__struct_config__.tag)
