"""`torch.linalg.eigh` of a batch, by all the threads of a CPU or the best solver of a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from eigbench.methods import gpu
from eigbench.methods.calling import composing, exporting
from eigbench.methods.gpu import LONGEST_BATCH
from eigbench.methods.threads import WORTH, decompose_in_parts, parts_of
from eigbench.phases import phase

Pairs = tuple[Tensor, Tensor]


def decompose(M: Tensor) -> Pairs:
    """Eigenvalues `(..., n)` and eigenvectors `(..., n, n)` of Hermitian `M`, without a gradient.

    What `torch.linalg.eigh` gives, with its layout and its errors.
    """
    if not composing():
        return _decompose(M)
    # An exported program shall not need this package, and may be for any number of matrices.
    if exporting():
        return _whole(M)
    # What is compiled has the size that it has; a transform hides how many matrices there are.
    small = torch.compiler.is_compiling() and M.numel() < WORTH
    if M.is_cuda:
        # Compiled for graphs of CUDA, the operator is captured; which of them is not known here.
        apart = gpu.takes(M) or (torch.compiler.is_compiling() and gpu.capturable(M))
    else:
        apart = M.is_cpu and not small
    if not apart:
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
    return _in_parts(M, parts) if parts > 1 else _whole(M)


def _in_pieces(M: Tensor) -> Pairs:
    """Of more matrices than cuSOLVER takes at once."""
    pieces = [_whole(piece) for piece in torch.split(M.flatten(0, -3), LONGEST_BATCH)]
    eigenvalues = torch.cat([values for values, _ in pieces])
    rows = torch.cat([V.mT for _, V in pieces])  # eigenvectors lie in columns, as torch has them
    return eigenvalues.view(M.shape[:-1]), rows.view(M.shape).mT


def _whole(M: Tensor) -> Pairs:
    eigenvalues, V = torch.linalg.eigh(M)
    return eigenvalues, V


def _in_parts(M: Tensor, parts: int) -> Pairs:
    eigenvalues = M.new_empty(M.shape[:-1], dtype=M.dtype.to_real())
    V = torch.empty_strided(M.shape, _column_major(M), dtype=M.dtype, device=M.device)
    try:
        decompose_in_parts(M, eigenvalues, V, parts)
    except LinAlgError:
        return _whole(M)  # raises too, and says which matrix it was
    return eigenvalues, V


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


OPERATOR = "eigbench::eigh"


@torch.library.custom_op(OPERATOR, mutates_args=(), device_types=("cpu", "cuda"))
def _operator(M: Tensor) -> Pairs:
    """For what traces or transforms operators of torch, and for whoever watches them."""
    return gpu.batched_eigh(M) if M.is_cuda and gpu.takes(M) else _decompose(M)


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
