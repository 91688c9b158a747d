"""List options: `--d 4 8 16`, `--d 4 --d 8` and `--d 4,8` mean the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperCommand

from eigbench.axes import AXES, SETTINGS, Axis
from eigbench.errors import InputError
from eigbench.methods.registry import available

ALL = "all"

# A word that starts so is a value, though options start with a dash too: -3, -.5, -inf
_NEGATIVE = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)


class ListCommand(TyperCommand):
    """A command without positional arguments whose repeatable options take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite the values of list options to repeated options, then parse as usual."""
        names = {
            name
            for parameter in self.params
            if getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        return super().parse_args(ctx, list(spread(args, names)))


def spread(arguments: Sequence[str], names: set[str]) -> Iterator[str]:
    """`--d 4 8,16` to `--d=4 --d=8 --d=16`, for the options in `names`."""
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        name, equals, value = word.partition("=")
        if name not in names:
            yield word
            continue
        words = [value] if equals else []
        while not equals and position < len(arguments) and _is_value(arguments[position]):
            words.append(arguments[position])
            position += 1
        values = [part.strip() for one in words for part in one.split(",") if part.strip()]
        if not values:
            raise InputError(f"{name} needs at least one value, for example {_example(name)}")
        yield from (f"{name}={one}" for one in values)


def axis_values(options: dict[str, list[str] | None]) -> dict[str, list[Any]]:
    """The checked values of each axis that was given, without repetitions."""
    chosen: dict[str, list[Any]] = {}
    for name, words in options.items():
        for word in _without_all(name, words or []):
            value = _read(AXES[name], word)
            values = chosen.setdefault(name, [])
            if value not in values:
                values.append(value)
    return chosen


def _without_all(name: str, words: list[str]) -> Iterator[str]:
    """The words, `all` among methods replaced by the name of every one."""
    for word in words:
        if name == "method" and word == ALL:
            yield from available()
        else:
            yield word


def setting_values(options: dict[str, str | None]) -> dict[str, Any]:
    """The checked value of each setting of a training that was given."""
    return {name: _read(SETTINGS[name], word) for name, word in options.items() if word is not None}


def _read(axis: Axis, word: str) -> Any:
    try:
        return axis.read(word)
    except InputError as error:
        raise InputError(f"{axis.option}: {error}") from None


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _NEGATIVE.match(word) is not None


def _example(option: str) -> str:
    accepts = next((a.accepts() for a in AXES.values() if a.option == option), "")
    return f"{option} VALUE [VALUE ...]; accepted: {accepts}"
