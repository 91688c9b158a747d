"""`torch.linalg.eigh` of a batch, by all the threads of a CPU or the best solver of a GPU.

On a CPU torch gives LAPACK one matrix after the other. LAPACK's own threads gain nothing on small
matrices, and beside another program they wait for each other far longer than they work. So a batch
is cut into as many parts as torch has threads, and each part is decomposed by one thread of ours,
with one LAPACK thread. What comes out is what torch gives on one thread, bit for bit. On CUDA a
batch goes to the solver that `eigbench.methods.gpu` knows, where that takes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.methods import gpu
from eigbench.methods.calling import composing, observed
from eigbench.methods.gpu import LONGEST_BATCH
from eigbench.phases import phase

WORTH = 2**14
"""Entries of a batch from which on threads gain: about 0.7 ms of work for one, at any n ≤ 128.
To hand it to two and to wait for them takes about 0.1 ms."""

Pairs = tuple[Tensor, Tensor]


def decompose(M: Tensor) -> Pairs:
    """Eigenvalues `(..., n)` and eigenvectors `(..., n, n)` of Hermitian `M`, without a gradient.

    What `torch.linalg.eigh` gives, with its layout and its errors.
    """
    if not composing():
        return _decompose(M)
    # What is compiled has the size that it has; a transform hides how many matrices there are. An
    # exported program shall not need this package.
    small = torch.compiler.is_compiling() and M.numel() < WORTH
    apart = gpu.takes(M) if M.is_cuda else M.is_cpu and not small
    if torch.compiler.is_exporting() or not apart:
        return _whole(M)
    found: Pairs = _OPERATOR(M)
    return found


def _decompose(M: Tensor) -> Pairs:
    """Of a plain tensor: whole, by threads, or by another solver."""
    if M.is_cuda:
        if gpu.takes(M):
            found: Pairs = _OPERATOR(M)  # which traces and `watch` see
            return found
        return _in_pieces(M) if M.shape[:-2].numel() > LONGEST_BATCH else _whole(M)
    parts = parts_of(M)
    return _spread(M, parts) if parts > 1 else _whole(M)


def _in_pieces(M: Tensor) -> Pairs:
    """Of more matrices than cuSOLVER takes at once."""
    pieces = [_whole(piece) for piece in torch.split(M.flatten(0, -3), LONGEST_BATCH)]
    eigenvalues, V = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return eigenvalues.view(M.shape[:-1]), V.view(M.shape)


def _whole(M: Tensor) -> Pairs:
    eigenvalues, V = torch.linalg.eigh(M)
    return eigenvalues, V


def parts_of(M: Tensor) -> int:
    """In how many parts a batch is decomposed; 1 of what is worth no thread."""
    # A mode that sees torch's operators is one of this thread.
    if M.numel() < WORTH or not M.is_cpu or _counting or observed(M):
        return 1
    return min(torch.get_num_threads(), M.numel() // M.shape[-1] ** 2)


def _spread(M: Tensor, parts: int) -> Pairs:
    n = M.shape[-1]
    batch = M.detach().reshape(-1, n, n)
    eigenvalues = M.new_empty(M.shape[:-1], dtype=M.dtype.to_real())
    # Written in place. So each matrix lies where it would in the whole batch: how LAPACK rounds
    # depends on where in a line of the cache a matrix begins.
    V = torch.empty_strided(M.shape, _column_major(M), dtype=M.dtype, device=M.device)
    tasks = zip(
        batch.tensor_split(parts),
        eigenvalues.view(-1, n).tensor_split(parts),
        V.view(-1, n, n).tensor_split(parts),
        strict=True,
    )
    inference = torch.is_inference_mode_enabled()
    try:
        running = [_pool().submit(_part, *task, inference) for task in tasks]
    except RuntimeError:  # the interpreter is about to end
        return _whole(M)
    wait(running)
    try:
        for one in running:
            one.result()
    except LinAlgError:
        return _whole(M)  # raises too, and says which matrix it was
    return eigenvalues, V


def _part(M: Tensor, eigenvalues: Tensor, V: Tensor, inference: bool) -> None:  # noqa: FBT001
    with torch.inference_mode(inference):
        torch.linalg.eigh(M, out=(eigenvalues, V))


def _column_major(M: Tensor) -> list[int]:
    """The strides in which torch gives the eigenvectors of `M`."""
    n = M.shape[-1]
    strides, step = [1, n], n * n
    for count in reversed(M.shape[:-2]):
        strides.insert(0, step)
        step = step * count
    return strides


class Decomposition(torch.autograd.Function):
    """A decomposition forward, a rule's own gradient backward, under `torch.func` and compile."""

    generate_vmap_rule = True

    @staticmethod
    def forward(M: Tensor, rule: object) -> Pairs:
        """Eigenvalues and eigenvectors of symmetric `M` `(..., n, n)`."""
        with phase("decomposition"):
            return decompose(M)


# The pool of threads, which does not survive a fork.
_threads: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _pool() -> ThreadPoolExecutor:
    global _threads  # noqa: PLW0603 - one for the whole process
    with _lock:
        if _threads is None:
            count = os.cpu_count() or 1
            _threads = ThreadPoolExecutor(count, "eigbench", initializer=_use_one_thread)
        return _threads


def _forget() -> None:
    global _threads, _lock
    _threads, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _use_one_thread() -> None:
    """In this thread, which is one of the pool, and in no other."""
    with _lock:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        # That is also what a new thread begins with. One that does sets it back.
        restoring = threading.Thread(target=torch.set_num_threads, args=(before,))
        restoring.start()
        restoring.join()


_counting = 0


@contextmanager
def whole_batches() -> Iterator[None]:
    """Inside, no thread of the process cuts a batch: for who counts calls."""
    global _counting  # noqa: PLW0603
    with _lock:
        _counting += 1
    try:
        yield
    finally:
        with _lock:
            _counting -= 1


OPERATOR = "eigbench::eigh"


@torch.library.custom_op(OPERATOR, mutates_args=(), device_types=("cpu", "cuda"))
def _operator(M: Tensor) -> Pairs:
    """For what traces or transforms operators of torch, and for whoever watches them."""
    return gpu.batched_eigh(M) if M.is_cuda else _decompose(M)


@_operator.register_fake
def _shapes(M: Tensor) -> Pairs:
    V = torch.empty_strided(M.shape, _column_major(M), dtype=M.dtype, device=M.device)
    return M.new_empty(M.shape[:-1], dtype=M.dtype.to_real()), V


def _over_batch(_info: Any, in_dims: tuple[int], M: Tensor) -> tuple[Pairs, tuple[int, int]]:
    return _OPERATOR(M.movedim(in_dims[0], 0)), (0, 0)


_operator.register_vmap(_over_batch)
OVERLOADS = torch.ops.eigbench.eigh
"""The operator as counters of operations know it."""
_OPERATOR = OVERLOADS.default
