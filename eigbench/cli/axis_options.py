"""Options made from axes: `--d 4 8 16`, `--d 4 --d 8` and `--d 4,8` mean the same.

An axis says itself how it is asked for (`eigbench.axes`); a command says which axes it has.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from eigbench.axes import AXES, Axis
from eigbench.errors import InputError
from eigbench.methods.registry import available

ALL = "all"

# What does not start as an option does, and a negative number: -3, -.5, -inf
_VALUE = re.compile(r"(?!-)|-(\d|\.\d|inf|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Panel:
    """Options that the help shows together, one for each axis."""

    title: str
    axes: Sequence[Axis]
    several: bool = True
    """Whether an option takes several values, as an axis of a grid does, or one."""

    def parameters(self) -> Iterator[inspect.Parameter]:
        """One parameter of a function for each axis, as typer reads it."""
        for axis in self.axes:
            option = typer.Option(
                axis.option,
                metavar=f"{axis.metavar}..." if self.several else axis.metavar,
                help=axis.help,
                rich_help_panel=self.title,
            )
            kind = list[str] if self.several else str
            yield inspect.Parameter(
                axis.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Remove the words of these axes from what was given; returns their checked values."""
        words = [(axis, given.pop(axis.name)) for axis in self.axes]
        return {
            axis.name: _values(axis, own) if self.several else axis.read(own)
            for axis, own in words
            if own not in (None, [])
        }


def options_of(**panels: Panel) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each axis of a panel and each field of a dataclass.

    With `@options_of(axes=Panel("Axes of the grid", [AXES["d"]]))` the command has the option
    `--d`, and its function the parameter `axes`: a dictionary of the values by axis, those that
    were given alone. A parameter that is annotated with a dataclass becomes one option for each of
    its fields, and the function gets the instance. All others stay as they are. typer reads a
    function's signature, and so this makes a new one.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = _parameters(command)
        bundles: dict[str, Any] = {
            name: p.annotation for name, p in own.items() if is_dataclass(p.annotation)
        }

        @wraps(command)
        def called(**given: Any) -> None:
            made = {name: panel.take(given) for name, panel in panels.items()}
            for name, bundle in bundles.items():
                made[name] = bundle(**{field: given.pop(field) for field in _parameters(bundle)})
            command(**made, **given)

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            if name in panels:
                parameters += panels[name].parameters()
            elif name in bundles:
                parameters += _parameters(bundles[name]).values()
            else:
                parameters.append(parameter)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def _parameters(of: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function or a dataclass. Annotations, text there, are types here."""
    hints = get_type_hints(of, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(of).parameters.items()
    }


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
        # A shell that completes a line has its last option without a value.
        whole = args if ctx.resilient_parsing else list(spread(args, names))
        return super().parse_args(ctx, whole)


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
        while not equals and position < len(arguments) and _VALUE.match(arguments[position]):
            words.append(arguments[position])
            position += 1
        values = [part.strip() for one in words for part in one.split(",") if part.strip()]
        if not values:
            accepted = next((a.accepts() for a in AXES.values() if a.option == name), "")
            raise InputError(
                f"{name} needs at least one value, for example {name} VALUE [VALUE ...]; "
                f"accepted: {accepted}"
            )
        yield from (f"{name}={one}" for one in values)


def _values(axis: Axis, words: Sequence[str]) -> list[Any]:
    """The checked values, without repetitions; `all` among methods is the name of every one."""
    values: list[Any] = []
    for word in words:
        several = available() if axis.name == "method" and word == ALL else [word]
        values += [axis.read(one) for one in several]
    return list(dict.fromkeys(values))
