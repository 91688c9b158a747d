"""A batch of decompositions, shared among the threads that torch's own products run on.

On a CPU torch gives LAPACK one matrix after the other, on one core. Here the threads of OpenMP
each decompose a part. They are the ones that torch's products use. After a product these keep
their cores busy for some 10 ms, waiting for the next one, so other threads find no core free.
OpenMP is called as programs compiled by GCC call it: by `GOMP_parallel` of its libgomp, which
LLVM's and Intel's runtimes have too. Where a platform has none of them, a batch stays whole.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.calling import observed

WORTH = 2**14
"""Entries of a batch from which on threads gain: about 0.7 ms of work for one, at any n ≤ 128."""

_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def parts_of(M: Tensor) -> int:
    """In how many parts a batch is decomposed; 1 of what is worth no thread."""
    # A mode that sees torch's operators is one of this thread.
    if M.numel() < WORTH or not M.is_cpu or _kept_whole or observed(M) or _team() is None:
        return 1
    return min(torch.get_num_threads(), M.numel() // M.shape[-1] ** 2)


def decompose_in_parts(M: Tensor, eigenvalues: Tensor, V: Tensor, parts: int) -> None:
    """Write the eigenpairs of Hermitian `M` `(..., n, n)` into `eigenvalues` and `V`.

    They are those of torch on one thread, bit for bit.

    Raises:
        torch.linalg.LinAlgError: LAPACK found none of a matrix, which may be called by a number
            within its part.

    """
    n = M.shape[-1]
    # Written in place. So each matrix lies where it would in the whole batch: how LAPACK rounds
    # depends on where in a line of the cache a matrix begins.
    pieces = zip(
        M.detach().reshape(-1, n, n).tensor_split(parts),
        eigenvalues.view(-1, n).tensor_split(parts),
        V.view(-1, n, n).tensor_split(parts),
        strict=True,
    )
    inference = torch.is_inference_mode_enabled()
    _by_a_team([partial(_part, *piece, inference) for piece in pieces])


def _part(M: Tensor, eigenvalues: Tensor, V: Tensor, inference: bool) -> None:  # noqa: FBT001
    before = _use_mkl_threads()(1)
    try:
        with torch.inference_mode(inference):
            torch.linalg.eigh(M, out=(eigenvalues, V))
    finally:
        _use_mkl_threads()(before)


def _by_a_team(tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once, on as many threads; raise the first error."""
    waiting, errors = list(tasks), list[BaseException]()

    def body(_: object) -> None:
        while True:  # a team may have fewer threads than were asked for
            try:
                task = waiting.pop()
            except IndexError:
                return
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - nothing can be raised through C
                errors.append(error)

    _team()(_BODY(body), None, len(tasks), 0)
    if errors:
        raise errors[0]


@cache
def _of_torch(name: str) -> Any:
    """A function of C in torch's library or in one that it needs; None where there is none."""
    try:
        return getattr(ctypes.CDLL("libtorch_cpu.so"), name)  # which is loaded, wherever it lies
    except (OSError, AttributeError):
        return None


@cache
def _use_mkl_threads() -> Callable[[int], int]:
    """Set the number of MKL's threads in the calling thread; it returns the number before.

    MKL chooses its blocks by that number, also where it computes on one thread.
    """
    found: Callable[[int], int] | None = _of_torch("MKL_Set_Num_Threads_Local")
    return found or (lambda _count: 0)


@cache
def _team() -> Any:
    """`GOMP_parallel(body, data, threads, flags)` of the runtime that torch uses; None without."""
    found = _of_torch("GOMP_parallel")
    if found is None or not torch.backends.openmp.is_available():  # type: ignore[no-untyped-call]
        return None
    found.argtypes, found.restype = [_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return found


_kept_whole = 0
_lock = threading.Lock()


@contextmanager
def whole_batches() -> Iterator[None]:
    """Inside, no thread of the process cuts a batch: for who counts calls."""
    global _kept_whole  # noqa: PLW0603
    with _lock:
        _kept_whole += 1
    try:
        yield
    finally:
        with _lock:
            _kept_whole -= 1


def _after_a_fork() -> None:
    """The threads of OpenMP are not in a child, which would wait for them for ever."""
    global _kept_whole, _lock
    _kept_whole, _lock = 1, threading.Lock()


os.register_at_fork(after_in_child=_after_a_fork)
