"""On CUDA: the batched eigensolver that torch does not call, and one kernel for a whole table.

For matrices of n ≤ 32 torch calls cuSOLVER's batched solver. For larger ones it decomposes a batch
one matrix at a time, in float32 by Jacobi rotations that stop early. `cusolverDnXsyevBatched` takes
those too. Measured on an H200 with torch 2.11, CUDA 13 and float32: 64 matrices of 48 × 48 in 0.44
ms instead of 48 ms, 1,024 of 33 × 33 in 1.9 instead of 696, 40 of 352 × 352 in 22 instead of 297;
and ‖VΛVᵀ − M‖ₘₐₓ/‖M‖ₘₐₓ is 1e-6 where torch's is 1e-5 to 3e-4.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eigbench.methods.calling import constant_when_compiled

LARGEST_OF_TORCH = 32
"""Up to this size torch's own call is the batched one."""
LARGEST = {torch.float32: 384, torch.float64: 176}
"""Up to this size a batch took less time than torch's loop; one of larger matrices fills a GPU."""
LONGEST_BATCH = 32_768
"""cuSOLVER fails from 65,536 matrices on."""
WORKSPACE_BYTES = 2**30
"""A solver asks for 0.4 to 3 MB a matrix; a batch is cut so that it gets no more than this."""


def takes(M: Tensor) -> bool:
    """Whether `batched_eigh` decomposes `M` `(..., n, n)` on CUDA, and in less time than torch."""
    n = M.shape[-1]
    if not LARGEST_OF_TORCH < n <= LARGEST.get(M.dtype, 0):
        return False
    matrices = M.shape[:-2].numel()
    # One float64 matrix is decomposed by another algorithm, which is as accurate.
    return matrices >= (1 if M.dtype == torch.float32 else 2) and _has_solver()


def batched_eigh(M: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues `(..., n)` and eigenvectors `(..., n, n)` of `M`, of which one triangle is read.

    Raises `torch.linalg.LinAlgError` as `torch.linalg.eigh` does.
    """
    solver = _solver()
    assert solver is not None  # noqa: S101  # asked before
    n = M.shape[-1]
    # The solver overwrites it with the eigenvectors, in columns as Fortran has them.
    found = M.clone(memory_format=torch.contiguous_format).view(-1, n, n)
    values = torch.empty(found.shape[:-1], dtype=M.dtype, device=M.device)
    info = torch.empty(len(found), dtype=torch.int32, device=M.device)
    with torch.cuda.device(M.device):
        solver.decompose(found, values, info)
    torch._linalg_check_errors(info, "linalg.eigh", is_matrix=len(found) == 1)
    return values.view(M.shape[:-1]), found.view(M.shape).mT


VECTORS, UPPER = 1, 1
"""Of cuSOLVER and cuBLAS. The upper triangle of what Fortran reads is the lower one in C."""
REAL = {torch.float32: 0, torch.float64: 1}
"""`cudaDataType`."""
NAMES = ("libcusolver.so.12", "libcusolver.so.11")


@constant_when_compiled
def _has_solver() -> bool:
    return _solver() is not None


@functools.cache
def _solver() -> _Solver | None:
    """CuSOLVER as torch has loaded it; None if it has none, or one older than CUDA 12.6."""
    torch.linalg.eigh(torch.eye(2, device="cuda"))  # which loads it
    for name in NAMES:
        try:
            # Only what is loaded already: another version beside it would not get on with it.
            library = ctypes.CDLL(name, mode=getattr(os, "RTLD_NOLOAD", 0) | os.RTLD_NOW)
        except (OSError, AttributeError):
            continue
        if hasattr(library, "cusolverDnXsyevBatched"):
            return _Solver(library)
    return None


class _Solver:
    """The C interface of cuSOLVER, with handles of each thread and device."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._local = threading.local()

    def decompose(self, matrices: Tensor, values: Tensor, info: Tensor) -> None:
        """Overwrite `matrices` `(b, n, n)` with eigenvectors, and fill `values` and `info`."""
        size = self._workspace_bytes(matrices, values)
        each = max(1, size[0] // len(matrices))
        length = max(1, min(LONGEST_BATCH, WORKSPACE_BYTES // each))
        pieces = (torch.split(tensor, length) for tensor in (matrices, values, info))
        for piece in zip(*pieces, strict=True):
            self._decompose(*piece)

    def _decompose(self, matrices: Tensor, values: Tensor, info: Tensor) -> None:
        on_device, on_host = self._workspace_bytes(matrices, values)
        # Given back to torch's allocator at once, which keeps it for this stream.
        device_memory = torch.empty(on_device, dtype=torch.uint8, device=matrices.device)
        host_memory = ctypes.create_string_buffer(max(1, on_host))
        self._call(
            "cusolverDnXsyevBatched",
            *self._problem(matrices, values),
            ctypes.c_void_p(device_memory.data_ptr()),
            ctypes.c_size_t(on_device),
            host_memory,
            ctypes.c_size_t(on_host),
            ctypes.c_void_p(info.data_ptr()),
            ctypes.c_int64(len(matrices)),
        )

    def _workspace_bytes(self, matrices: Tensor, values: Tensor) -> tuple[int, int]:
        """On the device, and on the host."""
        on_device, on_host = ctypes.c_size_t(), ctypes.c_size_t()
        self._call(
            "cusolverDnXsyevBatched_bufferSize",
            *self._problem(matrices, values),
            ctypes.byref(on_device),
            ctypes.byref(on_host),
            ctypes.c_int64(len(matrices)),
        )
        return on_device.value, on_host.value

    def _problem(self, matrices: Tensor, values: Tensor) -> tuple[Any, ...]:
        """The arguments that both functions begin with."""
        n, kind = ctypes.c_int64(matrices.shape[-1]), ctypes.c_int(REAL[matrices.dtype])
        entries, eigenvalues = (ctypes.c_void_p(x.data_ptr()) for x in (matrices, values))
        handle, parameters = self._handles(matrices.device)
        stream = torch.cuda.current_stream(matrices.device).cuda_stream
        self._call("cusolverDnSetStream", handle, ctypes.c_void_p(stream))
        settings = (handle, parameters, ctypes.c_int(VECTORS), ctypes.c_int(UPPER))
        return (*settings, n, kind, entries, n, kind, eigenvalues, kind)

    def _handles(self, device: torch.device) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        """A handle must not be used by two threads at once; torch's own are out of reach."""
        known: dict[Any, Any] = self._local.__dict__
        if device.index not in known:
            handle, parameters = ctypes.c_void_p(), ctypes.c_void_p()
            self._call("cusolverDnCreate", ctypes.byref(handle))
            self._call("cusolverDnCreateParams", ctypes.byref(parameters))
            known[device.index] = handle, parameters
        found: tuple[ctypes.c_void_p, ctypes.c_void_p] = known[device.index]
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} of cuSOLVER failed with status {status}")


_SERIES_CORE = """
// The inner matrix of the gradient by eigenpairs: see eigbench/methods/pairwise.py, and for the
// coefficients Hybrid.half_coefficients. One thread an entry.
extern "C" __global__ void series_core(
    const T* values, const T* A, const T* by_values, T* core, int count, int n, int terms,
    double smallest)
{
    unsigned entry = blockIdx.x * blockDim.x + threadIdx.x;
    if (entry >= count) return;
    int column = entry % n, row = (entry / n) % n;
    long long matrix = entry / (n * n);
    if (row == column) { core[entry] = by_values[matrix * n + row]; return; }
    int a = min(row, column), b = max(row, column);
    const T* own = values + matrix * n;
    T lowest = own[0] * T(0.5) < T(0) ? own[0] * T(0.5) : T(0);
    T trailing = own[a] * T(0.5) - lowest, leading = own[b] * T(0.5) - lowest;
    T inverse = leading > T(smallest) ? T(1) / leading : T(0);
    T q = trailing * inverse < T(1) ? trailing * inverse : T(1);
    T total = T(0), power = T(1);
    for (int bit = 1 << 30; bit > 0; bit >>= 1) {
        if (bit > terms) continue;
        total += total * power; power *= power;
        if (terms & bit) { total = total * q + T(1); power *= q; }
    }
    T above = A[(matrix * n + a) * n + b], below = A[(matrix * n + b) * n + a];
    T quarter = inverse * T(0.25);
    core[entry] = (above - below) * (total * quarter) + power * quarter * above;
}
"""
_NAMES_IN_C = {torch.float32: "float", torch.float64: "double"}
_THREADS = 256
_MOST_ENTRIES = 2**31 - 1
"""Whole numbers reach a kernel as 32 bits."""


@functools.cache
def _compiled(name: str, device: int) -> Callable[..., None] | None:  # noqa: ARG001
    """The kernel for a type, compiled once for each device; None where torch has no compiler."""
    compiler = getattr(torch.cuda, "compile_kernel", getattr(torch.cuda, "_compile_kernel", None))
    if compiler is None:
        return None
    kernel: Callable[..., None] = compiler(f"typedef {name} T;\n{_SERIES_CORE}", "series_core")
    return kernel


def series_core(
    eigenvalues: Tensor, A: Tensor, by_eigenvalues: Tensor, iterations: int
) -> Tensor | None:
    """The inner matrix `(..., n, n)` of `hybrid`'s gradient, in one kernel; None if there is none.

    Of ascending `eigenvalues` `(..., n)`, `A = Vᵀ ∂L/∂V` and `∂L/∂λ`, real and on CUDA. The
    operations of torch that it stands for are thirty launches, which on small matrices take longer
    than the decomposition.
    """
    if A.numel() > _MOST_ENTRIES:
        return None
    kernel = _compiled(_NAMES_IN_C[A.dtype], A.device.index)
    if kernel is None:
        return None
    n, count = A.shape[-1], A.numel()
    inputs = [part.contiguous() for part in (eigenvalues, A, by_eigenvalues)]
    core = torch.empty_like(inputs[1])
    if count:
        smallest = 2 * iterations / torch.finfo(A.dtype).max
        blocks = -(-count // _THREADS)
        with torch.cuda.device(A.device):
            arguments = [*inputs, core, count, n, iterations - 1, smallest]
            kernel(grid=(blocks, 1, 1), block=(_THREADS, 1, 1), args=arguments)
    return core
