"""How a case is called: by its method, and by what tells it from the others of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from eigbench.kinds import Case
from eigbench.report.markdown import axis_value, percent
from eigbench.report.training import naming

_WORDS: dict[str, Callable[[Any], str]] = {
    "subject": str,
    "spectrum": str,
    "loss": str,
    "dtype": str,
    "device": str,
    "compiled": lambda _: "compiled",
    "inputs": lambda inputs: f"{inputs} inputs",
    "ratio": lambda ratio: f"q = {ratio:g}",
    "epsilon": lambda epsilon: f"ε = {epsilon:g}",
    "energy": lambda share: f"{percent(share)} kept",
}

_BESIDE = {"kind", "method", "parameters", "seed", "seeds", "rounds", "seconds", "trace"}
"""Fields that are no part of a name."""

_LAST = ("dtype", "device")
"""Said after everything else."""


def named(cases: Sequence[Case]) -> list[str]:
    """A name for each case: the method, and the axes in which cases of its kind differ.

    Where cases of several kinds would have the same name, each says its kind as well.
    """
    varied = {kind: _varied(own) for kind, own in _by_kind(cases).items()}
    names = [_name(case, varied[kind_of(case)]) for case in cases]
    kinds: dict[str, set[str]] = {}
    for case, name in zip(cases, names, strict=True):
        kinds.setdefault(name, set()).add(kind_of(case))
    return [
        f"{name}, {kind_of(case)}" if len(kinds[name]) > 1 else name
        for case, name in zip(cases, names, strict=True)
    ]


def shared(cases: Sequence[Case]) -> dict[str, str]:
    """By kind, what its cases have in common, in words."""
    found = {}
    for kind, own in _by_kind(cases).items():
        varied = _varied(own)
        words = {axis: word for case in own for axis, word in _fields(case).items()}
        found[kind] = ", ".join(words[axis] for axis in _axes(own) if axis not in varied)
    return found


def kind_of(case: Case) -> str:
    """Such as "profile"."""
    return str(case.__struct_config__.tag)


def _by_kind(cases: Sequence[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(kind_of(case), []).append(case)
    return found


def _name(case: Case, axes: Sequence[str]) -> str:
    fields = _fields(case)
    return ", ".join([_method(case), *(fields[axis] for axis in axes if axis in fields)])


def _varied(cases: Sequence[Case]) -> list[str]:
    """The axes with several values among cases, or of which some cases of a method have none."""
    described = [(_method(case), _fields(case)) for case in cases]
    varied = []
    for axis in _axes(cases):
        by_method: dict[str, set[str | None]] = {}
        for method, fields in described:
            by_method.setdefault(method, set()).add(fields.get(axis))
        values = set().union(*by_method.values()) - {None}
        if len(values) > 1 or any(len(own) > 1 for own in by_method.values()):
            varied.append(axis)
    return varied


def _method(case: Case) -> str:
    return str(getattr(case, "method", "series"))


def _axes(cases: Sequence[Case]) -> list[str]:
    """The parameters of methods, then what they are given, then how exactly and where."""
    axes = {axis: None for case in cases for axis in _fields(case)}
    fields = cases[0].__struct_fields__
    parameters = [axis for axis in axes if axis not in fields]
    order = [*parameters, *(field for field in fields if field not in _LAST), *_LAST]
    return sorted(axes, key=order.index)


def _fields(case: Case) -> dict[str, str]:
    """Every axis of a case in words, the method's parameters among them."""
    values = msgspec.structs.asdict(case)
    if values.get("layer") == values.get("method"):
        values["layer"] = None  # "bn" and "none" need not be said twice
    parameters = dict(values.get("parameters", {}))
    if "seed" in parameters:
        parameters["start"] = parameters.pop("seed")
    every = {**parameters, **{name: values[name] for name in values if name not in _BESIDE}}
    # Not "in (None, False)", which a gap of 0 is as well.
    said = {n: value for n, value in every.items() if value is not None and value is not False}
    return {name: _word(name, value) for name, value in said.items()}


def _word(axis: str, value: Any) -> str:
    if axis in _WORDS:
        return _WORDS[axis](value)
    return naming.word(axis, axis_value(value))
