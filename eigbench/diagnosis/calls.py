"""How the decompositions that torch computes are seen: by kernels in its dispatcher.

While something observes, a kernel of ours stands before torch's own for `_linalg_eigh` and
`_linalg_svd`, which `eigh`, `eigvalsh`, `svd`, `svdvals`, `pinv`, `matrix_norm`, `cond`,
`svd_lowrank`, `lobpcg` and others compute with: one for each device, where the tensors have
values whatever casts, transforms or compiles them, and one for their autograd, where the node is
that gets the gradients. This is what `torch.library.get_kernel` is documented for. No name in any
module is bound anew, and no other operation is touched; calls of all threads are seen.

A `TorchFunctionMode` and a `TorchDispatchMode` cost more (3 to 7 and 10 to 21 % of a training step
of ResNet18 with 2 images of 32×32, where this costs nothing that can be measured), and are of one
thread. Names bound anew in modules miss what C++ calls, and are found by whoever pickles or traces
a function, or has a module that refuses them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]
from torch.utils._python_dispatch import _disable_current_modes

from eigbench.diagnosis.matrices import Decomposition
from eigbench.errors import in_one_line
from eigbench.methods.decomposition import OPERATOR
from eigbench.methods.threads import whole_batches

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
    seen: list[list[Seen]] | None = None
    """The calls inside the operator of autograd that is at work, as each observer keeps them."""


_observers: list[Observer] = []
_lock = threading.Lock()
_local = _Local()
_libraries: list[Any] = []
_retired: list[Any] = []
"""The kernels that were in place last: another thread may be inside one while it is removed."""
_last_calls: dict[int, float] = {}
"""When each thread made its last call, by `time.monotonic()`; infinite while it is in one."""
PAUSE = 1.0
"""Seconds: a thread that made its last call longer ago than this has come to its end."""


@contextmanager
def intercepted(observer: Observer) -> Iterator[None]:
    """Inside, `observer` is told of the calls of all threads."""
    with _lock:
        if not _libraries:
            _install()
        _observers.append(observer)
    try:
        with whole_batches():  # a call is one call, on however many threads it would run
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
        torch._C._set_grad_enabled(False)  # noqa: FBT003
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
            _log.error("eigbench.watch could not note a call: %s", in_one_line(error))
        return isinstance(error, Exception)


def values_of(tensor: Tensor) -> Tensor | None:
    """The plain tensor inside what `torch.func.grad` wraps it in; None if there is none."""
    functorch = torch._C._functorch
    while functorch.is_gradtrackingtensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    plain = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return tensor if plain and not functorch.is_functorch_wrapped_tensor(tensor) else None


def _install() -> None:
    global _libraries  # noqa: PLW0603
    places: list[tuple[str, str, Callable[[Kernel], Kernel]]] = []
    for device in DEVICES:
        key = f"Autograd{device}"
        places += [(f"aten::{name}", device, partial(_computing, CORES[name])) for name in CORES]
        places += [
            (f"aten::{name}", key, partial(_differentiating, name)) for name in DIFFERENTIATED
        ]
        places += [(f"aten::{name}", key, partial(_naming, name)) for name in COMPOSED]
    places.append((OPERATOR, "CUDA", partial(_computing, "eigh")))
    spaces = {name.partition("::")[0] for name, _, _ in places}
    libraries: dict[str, Any] = {
        space: torch.library.Library(space, "IMPL")  # type: ignore[no-untyped-call]
        for space in spaces
    }
    _retired.clear()
    _last_calls.clear()
    with ExitStack() as stack, warnings.catch_warnings():
        # torch warns once in a process, of the first kernel that is put before another.
        warnings.filterwarnings("ignore", ".*(overrid|Overrid)", UserWarning)
        for library in libraries.values():
            stack.callback(library._destroy)  # where one of them is refused
        for name, key, make in places:
            original = torch.library.get_kernel(name, key)
            # torch 2.13 and older refuse, unless told, to put a kernel before one in Python.
            libraries[name.partition("::")[0]].impl(
                name, make(original.call_boxed), key, with_keyset=True, allow_override=True
            )
            _retired.append(torch.library.get_kernel(name, key))
        stack.pop_all()
    _libraries = [*libraries.values()]
    _forget_choices()


def _remove() -> None:
    global _libraries  # noqa: PLW0603
    # torch changes no table safely while another thread reads it. Then the kernels stay, and only
    # pass calls on, until a later watch ends.
    now, others = time.monotonic(), {thread.ident for thread in threading.enumerate()}
    others.discard(threading.get_ident())
    for thread, last in _last_calls.items():
        if thread in others and now - last < PAUSE:
            return
    for library in _libraries:
        library._destroy()
    _libraries = []
    _forget_choices()


def _forget_choices() -> None:
    """Let torch choose kernels again: its operators in Python remember which they chose.

    Else a compiler would trace our kernels after they are gone, and find no gradient.
    """
    for name in (*DIFFERENTIATED, *COMPOSED):
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
        operator._dispatch_cache.clear()


Kernel = Callable[..., Any]
"""Called with the dispatcher's keys, and the operator's arguments."""


def _computing(kind: Decomposition, original: Kernel) -> Kernel:
    """The kernel of a device, which tells the observers."""

    def kernel(keys: Any, M: Tensor, *args: Any, **kwargs: Any) -> Any:
        observers = () if _local.unobserved or M.numel() == 0 else tuple(_observers)
        name, thread = _local.name or kind, threading.get_ident()
        _last_calls[thread] = math.inf
        try:
            results = original(keys, M, *args, **kwargs)
        except LinAlgError as error:
            with Aside():
                for observer in observers:
                    observer.raised(kind, name, M, error)
            raise
        finally:
            _last_calls[thread] = time.monotonic()
        if observers:
            with Aside():
                seen = [observer.returned(kind, name, M, results) for observer in observers]
                if _local.seen is not None:
                    _local.seen.append(seen)
        return results

    return kernel


def _naming(operator: str, original: Kernel) -> Kernel:
    """A kernel that does no more than to give what is called inside its name."""
    name = operator.partition(".")[0].removeprefix("_").removeprefix("linalg_")

    def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
        before, _local.name = _local.name, _local.name or name
        try:
            return original(keys, *args, **kwargs)
        finally:
            _local.name = before

    return kernel


def _differentiating(operator: str, original: Kernel) -> Kernel:
    """A kernel of autograd, which has the call of the device followed."""
    named = _naming(operator, original)

    def kernel(keys: Any, M: Tensor, *args: Any, **kwargs: Any) -> Any:
        inner: list[list[Seen]] = []
        outer, _local.seen = _local.seen, inner
        try:
            results = named(keys, M, *args, **kwargs)
        finally:
            _local.seen = outer
        if outer is not None:  # a transform is around it
            outer += inner
        some = results if isinstance(results, tuple) else (results,)
        node = next((one.grad_fn for one in some if one.grad_fn is not None), None)
        # Not more than one call: those that vmap makes of a single one have other tensors.
        if len(inner) == 1 and node is not None:
            with Aside():
                for seen in inner[0]:
                    seen.follow(node, M, some)
        return results

    return kernel
