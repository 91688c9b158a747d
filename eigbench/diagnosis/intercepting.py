"""Calls of torch's decompositions on their way: observers see them, and nothing else is slower.

The names under which these functions are known are bound to something else for a while. A
`torch.overrides.TorchFunctionMode` would see the same calls, and every other call of torch too,
which costs 3 µs each: of a step of ResNet18 that is not on a large batch, a fifth.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Operation:
    """A function of torch that decomposes matrices."""

    name: str
    """"eigh" or "svd"."""
    function: Callable[..., Any]
    gives_v: bool = False
    """Whether it returns V where `torch.linalg.svd` returns Vᴴ, as the older two do."""


OPERATIONS = (
    Operation("eigh", torch.linalg.eigh),
    Operation("svd", torch.linalg.svd),
    Operation("svd", torch.svd, gives_v=True),
)
METHOD = Operation("svd", torch.Tensor.svd, gives_v=True)
"""The method of a tensor."""


class Observer(Protocol):
    """Something that makes calls in place of their callers."""

    def call(
        self,
        operation: Operation,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call `function`, which is that of `operation` or another observer's, once."""
        ...


_observers: list[Observer] = []
_lock = threading.Lock()
_bindings = ExitStack()
_local = threading.local()


@contextmanager
def intercepted(observer: Observer) -> Iterator[None]:
    """Inside, `observer` makes the calls, of all threads; a later one is called before it."""
    with _lock:
        if not _observers:
            _bind()
        _observers.append(observer)
    try:
        yield
    finally:
        with _lock:
            _observers.remove(observer)
            if not _observers:
                _bindings.close()


@contextmanager
def unobserved() -> Iterator[None]:
    """Inside, calls of this thread are nobody's: those that a diagnosis makes itself."""
    before = getattr(_local, "unobserved", False)
    _local.unobserved = True
    try:
        yield
    finally:
        _local.unobserved = before


def _bind() -> None:
    """Put an observed twin wherever a module holds one of the functions under some name."""
    twins = {id(operation.function): _observed(operation) for operation in OPERATIONS}
    for name, module in list(sys.modules.items()):
        # Inside torch they are looked up in these two.
        if name.startswith("torch.") and name != "torch.linalg":
            continue
        for key, value in list(getattr(module, "__dict__", {}).items()):
            twin = twins.get(id(value))
            if twin is not None:
                setattr(module, key, twin)
                _bindings.callback(setattr, module, key, value)
    # The method is inherited: to delete the twin is to have it back.
    torch.Tensor.svd = _observed(METHOD)  # type: ignore[method-assign]
    _bindings.callback(delattr, torch.Tensor, "svd")


def _observed(operation: Operation) -> Callable[..., Any]:
    @functools.wraps(operation.function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        function = operation.function
        for observer in () if getattr(_local, "unobserved", False) else tuple(_observers):
            function = _through(observer, operation, function)
        return function(*args, **kwargs)

    return observed


def _through(
    observer: Observer, operation: Operation, function: Callable[..., Any]
) -> Callable[..., Any]:
    def through(*args: Any, **kwargs: Any) -> Any:
        return observer.call(operation, function, args, kwargs)

    return through
