"""How cells are called: by their method, and by what varies between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eigbench.kinds.train import TrainCase
from eigbench.report.markdown import percent
from eigbench.report.training.cells import WITHOUT, Cell

SWEPT = ("d", "components", "energy", "iterations")
"""The axes that have an order, as a figure's horizontal axis needs."""

PLACE = ("model", "layer", "d", "components", "energy", "epsilon", "truncation")
"""What a suite sweeps besides the method and its K."""

_OTHERS = {"method", "parameters", "seed", *PLACE}
SHARED = tuple(field for field in TrainCase.__struct_fields__ if field not in _OTHERS)
"""Data and recipe: the same in all cells of a suite, and walked all the same."""

_WORDS: dict[str, Callable[[Any], str]] = {
    "model": str,
    "layer": str,
    "method": str,
    "d": lambda d: f"d = {d}",
    "components": lambda e: f"e = {e}",
    "energy": lambda share: f"{percent(share)} kept",
    "iterations": lambda K: f"K = {K}",
    "epsilon": lambda epsilon: f"ε = {epsilon:g}",
    "truncation": lambda rule: "no truncation" if rule == "none" else f"truncation {rule}",
    "data": str,
}
AXES = (*dict.fromkeys([*_WORDS, *SHARED]),)
"""Everything in which cells can differ."""

_PREFIXES = {"d": "d = ", "components": "e = ", "iterations": "K = ", "epsilon": "ε = "}


def word(axis: str, value: Any) -> str:
    """One value of an axis as it is written, such as "d = 4"."""
    return _WORDS[axis](value) if axis in _WORDS else f"{axis} {value}"


def varied(cells: Iterable[Cell]) -> list[str]:
    """The axes but the method in which cells differ.

    None counts as a value where others of the same method and layer have one: it is not the same
    to keep the method's own truncation and to name one.
    """
    cases = [cell.case for cell in cells]
    decomposing = [case for case in cases if case.layer not in WITHOUT]
    kinds = [
        [case for case in decomposing if (case.method, case.layer) == kind]
        for kind in dict.fromkeys((case.method, case.layer) for case in decomposing)
    ]
    found = []
    for axis in AXES:
        among = decomposing if axis == "layer" else cases
        own = (len({getattr(case, axis) for case in kind}) for kind in kinds)
        if axis != "method" and (len(set(_values(among, axis))) > 1 or max(own, default=0) > 1):
            found.append(axis)
    return found


def values_of(cells: Iterable[Cell], axis: str) -> list[Any]:
    """The values that an axis takes, numbers ascending, words in order of appearance."""
    values = list(dict.fromkeys(_values((cell.case for cell in cells), axis)))
    return values if any(isinstance(value, str) for value in values) else sorted(values)


def _values(cases: Iterable[TrainCase], axis: str) -> list[Any]:
    values = (getattr(case, axis) for case in cases)
    return [value for value in values if value is not None]


def name(case: TrainCase, axes: Sequence[str]) -> str:
    """The method and what else tells the case from others, such as "hybrid, d = 4"."""
    return ", ".join([case.method, *_words(case, axes)])


def condition(case: TrainCase, axes: Sequence[str]) -> str:
    """What tells the case from others of its method, such as "d = 4"; "" if nothing does."""
    return ", ".join(_words(case, axes))


def conditions(cells: Sequence[Cell], axes: Sequence[str], among: int) -> str:
    """The same of several cells, with its preposition: values of one axis, else a number."""
    own = varied(cells)
    if len(cells) == 1:
        only = condition(cells[0].case, axes)
        return f" at {only}" if only else ""
    if len(own) != 1 or any(_has(cells[0].case, axis) for axis in axes if axis not in own):
        return f" in {len(cells)} of {among} cells"
    return f" at {listed(own[0], values_of(cells, own[0]))}"


def listed(axis: str, values: Sequence[Any]) -> str:
    """Several values of an axis, such as "d = 4, 16"."""
    first, *others = (word(axis, value) for value in values)
    return ", ".join([first, *(other.removeprefix(_PREFIXES.get(axis, "")) for other in others)])


def _words(case: TrainCase, axes: Sequence[str]) -> list[str]:
    return [word(axis, getattr(case, axis)) for axis in axes if _has(case, axis)]


def groups(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each method; of each method in each layer, if there are several layers."""
    axes = ["layer"] if "layer" in varied(cells) else []
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(name(cell.case, axes), []).append(cell)
    return found


def place(case: TrainCase, without: str | None = None) -> tuple[Any, ...]:
    """What a method is asked to do: the case without the method, its K and the seed.

    Methods are compared at the same place. One axis more can be left out of it.
    """
    return tuple(getattr(case, axis) for axis in (*PLACE, *SHARED) if axis != without)


def _has(case: TrainCase, axis: str) -> bool:
    without = axis == "layer" and case.layer in WITHOUT
    return not without and getattr(case, axis) is not None
