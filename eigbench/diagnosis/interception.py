"""Calls of torch's decompositions are passed through observers; all else is as fast as before.

While something observes, the names by which modules know these functions are bound to other ones. A
`torch.overrides.TorchFunctionMode` would see the same calls, and every other call of torch too,
which costs 3 µs each: a fifth of a step of ResNet18 on a small batch.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

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

Observer = Callable[..., Any]
"""Called as `observer(operation, function, *args, **kwargs)` in place of a watched function.

It calls `function`, that of `operation` or another observer's, once, and returns its result.
"""

_observers: list[Observer] = []
_lock = threading.Lock()
_bindings = ExitStack()
_local = threading.local()


@contextmanager
def intercepted(observer: Observer) -> Iterator[None]:
    """Inside, `observer` makes the calls of all threads; one that is added later comes first."""
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
    """Inside, no observer sees the calls of this thread: a diagnosis makes calls itself."""
    before = getattr(_local, "unobserved", False)
    _local.unobserved = True
    try:
        yield
    finally:
        _local.unobserved = before


def _bind() -> None:
    """Put an observed twin in the place of each function, in every module and under every name."""
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
            function = functools.partial(observer, operation, function)
        return function(*args, **kwargs)

    return observed
