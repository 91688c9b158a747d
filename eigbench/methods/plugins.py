"""Methods from a file of the user's own: all that it defines join the registry."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from eigbench.errors import InputError, in_one_line
from eigbench.methods import registry
from eigbench.methods.base import Method

EXPECTED = (
    "expected a frozen dataclass derived from eigbench.methods.base.Method, "
    "with a name and with `eigh`"
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def load(path: Path) -> tuple[str, ...]:
    """Run a Python file and register every `Method` that it defines; returns their names.

    A class that still has abstract methods is taken for the base of others. `InputError`, with the
    line of the file, if it does not run, and if there is nothing in it to register.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give a Python file that defines a method")
    program = path.read_bytes()
    module = _run(path, program)
    own = [x for x in vars(module).values() if _is_method_of(x, module)]
    concrete = [method for method in dict.fromkeys(own) if not inspect.isabstract(method)]
    if not concrete:
        unfinished = [f"{x.__name__} lacks {', '.join(_missing(x))}" for x in own]
        raise InputError("; ".join([f"{path} defines no method", *unfinished, EXPECTED]))
    for method in concrete:
        _require_name(path, method)
        try:
            registry.register(method, str(path), hashlib.sha256(program).hexdigest())
        except InputError as error:
            raise InputError(f"{path}, class {method.__name__}: {error}") from None
    return tuple(method.name for method in concrete)


def _run(path: Path, program: bytes) -> ModuleType:
    """The file as a module, under a name of its own and without a cache beside the file."""
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    module = ModuleType(f"eigbench_plugin_{digest[:12]}")
    module.__file__ = str(path)
    # Where a dataclass and pickle look a class up.
    sys.modules[module.__name__] = module
    try:
        code = compile(program, str(path), "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102  # the user's own program, as asked
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[module.__name__]
        said = in_one_line(error)
        if isinstance(error, SyntaxError):  # whose message names the file again
            said = f"{type(error).__name__}: {error.msg}"
        raise InputError(f"{_place(path, error)}: {said}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    """The file, and the line of it that an error comes from if there is one."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _is_method_of(value: object, module: ModuleType) -> bool:
    is_method = isinstance(value, type) and issubclass(value, Method)
    return is_method and getattr(value, "__module__", None) == module.__name__


def _missing(method: type[Method]) -> list[str]:
    return sorted(getattr(method, "__abstractmethods__", ()))


def _require_name(path: Path, method: type[Method]) -> None:
    name = getattr(method, "name", None)
    if isinstance(name, str) and _NAME.fullmatch(name):
        return
    raise InputError(
        f"{path}, class {method.__name__}: its `name` is {name!r}; "
        "letters, digits, '.', '-' and '_' are right, a letter or digit first"
    )
