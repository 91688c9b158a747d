"""How the decompositions that torch computes are seen: by kernels in its dispatcher.

While something observes, a kernel of ours stands before torch's own for `_linalg_eigh` and
`_linalg_svd`, which `eigh`, `eigvalsh`, `svd`, `svdvals`, `pinv`, `matrix_norm`, `cond`,
`svd_lowrank`, `lobpcg` and others compute with: one for each device, where the tensors have
values whatever casts, transforms or compiles them, and one for their autograd, where the node is
that gets the gradients. This is what `torch.library.get_kernel` is documented for. No name in any
module is bound anew, and no other operation is touched; calls of all threads are seen.

The others cost more, or see less. Of a step of ResNet18 (8 images of 32×32, forward and backward,
one CPU thread): a `TorchFunctionMode` adds 2 %, on a GPU, where launching is all, a fifth; a
`TorchDispatchMode` 50 %; both are of one thread. Names bound anew in modules miss what autocast
and C++ call, and are found by whoever pickles or traces a function. This one adds 5 µs to a call
of a decomposition that nobody reads, and nothing to anything else.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]
from torch.utils._python_dispatch import _disable_current_modes

Decomposition = Literal["eigh", "svd"]
_log = logging.getLogger("eigbench")

CORES: dict[str, Decomposition] = {"_linalg_eigh": "eigh", "_linalg_svd": "svd"}
"""The operators that compute, by torch's names."""
DIFFERENTIATED = (*CORES, "linalg_pinv.atol_rtol_tensor")
"""Those with a backward formula of their own."""
COMPOSED = (
    "svd",
    "linalg_svdvals",
    "linalg_eigvalsh",
    "linalg_cond",
    "linalg_cond.p_str",
    "linalg_norm",
    "linalg_norm.ord_str",
    "linalg_matrix_norm",
    "linalg_matrix_norm.str_ord",
    "nuclear_norm",
    "nuclear_norm.dim",
)
"""Those that call one of these, and give the call its name."""
DEVICES = ("CPU", "CUDA")


class Seen(Protocol):
    """A call as an observer keeps it."""

    def follow(self, node: Any, M: Tensor, results: Sequence[Tensor]) -> None:
        """Look at what comes through `node` of the graph, which made `results` of `M`."""


class Observer(Protocol):
    """Is told of every decomposition, in the thread that made it, where nothing is recorded."""

    def returned(
        self, kind: Decomposition, name: str, M: Tensor, results: Sequence[Tensor]
    ) -> Seen:
        """Of `M` `(..., m, n)`; `name` is the function that was called, such as "svdvals"."""

    def raised(self, kind: Decomposition, name: str, M: Tensor, error: Exception) -> None:
        """It did not converge."""


class _Local(threading.local):
    unobserved = False
    name = ""
    """The function that is at work; the outermost one."""
    seen: tuple[Seen, ...] = ()
    """The last call, as each observer keeps it."""
    count = 0
    """Of all calls."""


_observers: list[Observer] = []
_lock = threading.Lock()
_local = _Local()
_library: Any = None
_retired: list[Any] = []
"""The kernels that were in place last: another thread may be inside one while it is removed."""


@contextmanager
def intercepted(observer: Observer) -> Iterator[None]:
    """Inside, `observer` is told of the calls of all threads."""
    with _lock:
        if not _observers:
            _install()
        _observers.append(observer)
    try:
        yield
    finally:
        with _lock:
            _observers.remove(observer)
            if not _observers:
                _remove()


@contextmanager
def unobserved() -> Iterator[None]:
    """Inside, no observer sees the calls of this thread: a diagnosis makes calls itself."""
    before, _local.unobserved = _local.unobserved, True
    try:
        yield
    finally:
        _local.unobserved = before


class Aside:
    """Inside, no graph and no mode of the caller sees what is computed, and an error is logged.

    A training must not end because something could not be noted. This is a class, since it is
    entered three times a call: a generator takes 10 µs.
    """

    def __enter__(self) -> None:
        self._before = _local.unobserved, torch.is_grad_enabled()
        _local.unobserved = True
        torch._C._set_grad_enabled(False)
        self._functions = torch._C.DisableTorchFunction()
        self._functions.__enter__()
        self._modes = _disable_current_modes() if torch._C._len_torch_dispatch_stack() else None
        if self._modes is not None:
            self._modes.__enter__()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if self._modes is not None:
            self._modes.__exit__(None, None, None)
        self._functions.__exit__(None, None, None)
        _local.unobserved, enabled = self._before
        torch._C._set_grad_enabled(enabled)
        if isinstance(error, Exception):
            _log.error("eigbench.watch could not note a call: %s", error)
        return isinstance(error, Exception)


def values_of(tensor: Tensor) -> Tensor | None:
    """The plain tensor inside what `torch.func.grad` wraps it in; None if there is none."""
    functorch = torch._C._functorch
    while functorch.is_gradtrackingtensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    plain = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return tensor if plain and not functorch.is_functorch_wrapped_tensor(tensor) else None


def _install() -> None:
    global _library  # noqa: PLW0603
    places = [(name, key, _computing(name)) for name in CORES for key in DEVICES]
    autograd = [f"Autograd{key}" for key in DEVICES]
    places += [(name, key, _differentiating(name)) for name in DIFFERENTIATED for key in autograd]
    places += [(name, key, _naming(name)) for name in COMPOSED for key in autograd]
    _library = torch.library.Library("aten", "IMPL")
    _retired.clear()
    with warnings.catch_warnings():  # torch says once in a process that there was a kernel before
        warnings.filterwarnings("ignore", ".*(overrid|Overrid)", UserWarning)
        for name, key, make in places:
            original = torch.library.get_kernel(f"aten::{name}", key)
            _library.impl(name, make(original.call_boxed), key, with_keyset=True)
            _retired.append(torch.library.get_kernel(f"aten::{name}", key))


def _remove() -> None:
    _library._destroy()


Kernel = Callable[..., Any]
"""Called with the dispatcher's keys, and the operator's arguments."""


def _computing(operator: str) -> Callable[[Kernel], Kernel]:
    """Makes the kernel of a device, which tells the observers."""
    kind = CORES[operator]

    def make(original: Kernel) -> Kernel:
        def kernel(keys: Any, M: Tensor, *args: Any, **kwargs: Any) -> Any:
            observers = () if _local.unobserved or M.numel() == 0 else tuple(_observers)
            name = _local.name or kind
            try:
                results = original(keys, M, *args, **kwargs)
            except LinAlgError as error:
                with Aside():
                    for observer in observers:
                        observer.raised(kind, name, M, error)
                raise
            if observers:
                with Aside():
                    seen = [observer.returned(kind, name, M, results) for observer in observers]
                    _local.seen = tuple(seen)
                    _local.count += 1
            return results

        return kernel

    return make


def _naming(operator: str) -> Callable[[Kernel], Kernel]:
    """Makes a kernel that does no more than to give what is called inside its name."""
    name = operator.partition(".")[0].removeprefix("_").removeprefix("linalg_")

    def make(original: Kernel) -> Kernel:
        def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
            before, _local.name = _local.name, _local.name or name
            try:
                return original(keys, *args, **kwargs)
            finally:
                _local.name = before

        return kernel

    return make


def _differentiating(operator: str) -> Callable[[Kernel], Kernel]:
    """Makes a kernel of autograd, which has the call of the device followed."""

    def make(original: Kernel) -> Kernel:
        named = _naming(operator)(original)

        def kernel(keys: Any, M: Tensor, *args: Any, **kwargs: Any) -> Any:
            count = _local.count
            results = named(keys, M, *args, **kwargs)
            # Not of what vmap makes many calls of.
            if _local.count == count + 1:
                some = results if isinstance(results, tuple) else (results,)
                nodes = (result.grad_fn for result in some if result.grad_fn is not None)
                node = next(nodes, None)
                if node is not None:
                    with Aside():
                        for seen in _local.seen:
                            seen.follow(node, M, some)
            return results

        return kernel

    return make
