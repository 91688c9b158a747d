"""On CUDA: the batched eigensolver that torch does not call, and one kernel for a whole table.

For matrices of n ≤ 32 torch calls cuSOLVER's batched solver. For larger ones it decomposes a batch
one matrix at a time, in float32 by Jacobi rotations that stop early. `cusolverDnXsyevBatched` takes
those too. Measured on an H200 with torch 2.11, CUDA 13 and float32: 64 matrices of 48 × 48 in 1.2
ms instead of 48 ms, 1,024 of 33 × 33 in 2.5 instead of 659, 40 of 352 × 352 in 24 instead of 305;
and ‖VΛVᵀ − M‖ₘₐₓ/‖M‖ₘₐₓ is 1e-6 where torch's is 1e-5 to 3e-4.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

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
    """Whether `batched_eigh` is to decompose `M` `(..., n, n)` on CUDA.

    Batches take less time there than in torch, single float32 matrices lose fewer digits; and while
    a graph is captured torch's own call, which waits for the device, is not possible.
    """
    if not torch.compiler.is_compiling():
        if _capturing():
            return capturable(M)
        _prepare(M)  # what is called now may be captured next
    n, matrices = M.shape[-1], M.shape[:-2].numel()
    if not LARGEST_OF_TORCH < n <= LARGEST.get(M.dtype, 0):
        return False
    # One float64 matrix is decomposed by another algorithm, which is as accurate.
    return matrices >= (1 if M.dtype == torch.float32 else 2) and _has_solver()


def capturable(M: Tensor) -> bool:
    """Whether `M` `(..., n, n)` on CUDA can be decomposed inside of a captured graph."""
    return M.dtype in REAL and M.shape[-1] > 0 and M.shape[:-2].numel() > 0 and _has_solver()


def _capturing() -> bool:
    # A tensor without contents may be on a device that is not there.
    return _initialised() and torch.cuda.is_current_stream_capturing()


def _initialised() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _prepare(M: Tensor) -> None:
    """Set up what cannot be set up while a graph is captured."""
    solver = _solver() if M.dtype in REAL and _initialised() else None
    if solver is not None:
        solver.prepare(M.dtype, M.device)


def batched_eigh(M: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues `(..., n)` and eigenvectors `(..., n, n)` of `M`, of which one triangle is read.

    Raises `torch.linalg.LinAlgError` as `torch.linalg.eigh` does. In a captured graph nothing can
    be raised: of a matrix whose decomposition did not converge everything is NaN.
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
    if _capturing():
        failed = info[:, None] != 0
        values.masked_fill_(failed, torch.nan)
        found.masked_fill_(failed[:, None], torch.nan)
    else:
        torch._linalg_check_errors(info, "linalg.eigh", is_matrix=M.dim() == 2)
    return values.view(M.shape[:-1]), found.view(M.shape).mT


VECTORS, UPPER = 1, 1
"""Of cuSOLVER and cuBLAS. The upper triangle of what Fortran reads is the lower one in C."""
REAL = {torch.float32: 0, torch.float64: 1}
"""`cudaDataType`."""
NAMES = ("libcusolver.so.12", "libcusolver.so.11")


@constant_when_compiled
def _has_solver() -> bool:
    return _initialised() and _solver() is not None


@functools.cache
def _solver() -> _Solver | None:
    """CuSOLVER as torch has loaded it; None if it has none, or one older than CUDA 12.6."""
    with _disable_current_modes():  # a call without numbers would not load it, and `watch` see one
        torch.linalg.cholesky_ex(torch.eye(2, device="cuda"))
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
        self._captured: list[Any] = []
        """A graph that is replayed finds there what it was captured with."""

    def prepare(self, dtype: torch.dtype, device: torch.device) -> None:
        """Set up what this thread needs on a device, whatever transform or mode is active."""
        known: dict[Any, Any] = self._local.__dict__
        if device.index in known:
            return
        with torch._C._DisableFuncTorch(), _disable_current_modes(), torch.cuda.device(device):
            identity = torch.eye(2, dtype=dtype, device=device)[None]
            info = torch.empty(1, dtype=torch.int32, device=device)
            self.decompose(identity, torch.empty_like(identity[:, 0]), info)

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
        if _capturing():
            self._captured.append(host_memory)
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


_KERNELS = """
// An entry of the inner matrix of the gradient by eigenpairs: see eigbench/methods/pairwise.py, and
// for the coefficients Hybrid.half_coefficients. `upper` is A[a, b], `lower` A[b, a], for a < b.
__device__ T core_entry(const T* values, int a, int b, T upper, T lower, int terms, T smallest)
{
    T lowest = values[0] * T(0.5) < T(0) ? values[0] * T(0.5) : T(0);
    T trailing = values[a] * T(0.5) - lowest, leading = values[b] * T(0.5) - lowest;
    T inverse = leading <= smallest ? T(0) : T(1) / leading;  // NaN stays NaN
    T q = trailing * inverse < T(1) ? trailing * inverse : T(1);
    T total = T(0), power = T(1);
    for (int bit = 1 << 30; bit > 0; bit >>= 1) {
        if (bit > terms) continue;
        total += total * power; power *= power;
        if (terms & bit) { total = total * q + T(1); power *= q; }
    }
    T quarter = inverse * T(0.25);
    return (upper - lower) * (total * quarter) + power * quarter * upper;
}

// The inner matrix, one thread an entry.
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
    const T* own = A + matrix * n * n;
    core[entry] = core_entry(
        values + matrix * n, a, b, own[a * n + b], own[b * n + a], terms, T(smallest));
}

// Of rows or columns of shared matrices, whose entries are so many numbers apart.
__device__ T dot(const T* x, int x_step, const T* y, int y_step, int n)
{
    T sum = T(0);
    for (int k = 0; k < n; k++) sum += x[k * x_step] * y[k * y_step];
    return sum;
}

// The whole gradient V core Vt with A = Vt G, for n up to 32: one block a matrix.
extern "C" __global__ void series_gradient(
    const T* values, const T* V, const T* G, const T* by_values, T* gradient,
    long long v_matrix, long long v_row, long long v_column,
    long long g_matrix, long long g_row, long long g_column,
    int n, int terms, double smallest)
{
    __shared__ T v[32][33], x[32][33], y[32][33];
    long long matrix = blockIdx.x;
    const T* own = values + matrix * n;
    for (int e = threadIdx.x; e < n * n; e += blockDim.x) {
        int i = e / n, j = e % n;
        v[i][j] = V[matrix * v_matrix + i * v_row + j * v_column];
        x[i][j] = G[matrix * g_matrix + i * g_row + j * g_column];
    }
    __syncthreads();
    for (int e = threadIdx.x; e < n * n; e += blockDim.x) {
        int i = e / n, j = e % n;
        y[i][j] = dot(&v[0][i], 33, &x[0][j], 33, n);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < n * n; e += blockDim.x) {
        int i = e / n, j = e % n, a = min(i, j), b = max(i, j);
        x[i][j] = i == j ? by_values[matrix * n + i]
            : core_entry(own, a, b, y[a][b], y[b][a], terms, T(smallest));
    }
    __syncthreads();
    for (int e = threadIdx.x; e < n * n; e += blockDim.x) {
        int i = e / n, j = e % n;
        y[i][j] = dot(v[i], 1, &x[0][j], 33, n);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < n * n; e += blockDim.x) {
        int i = e / n, j = e % n;
        gradient[matrix * n * n + e] = dot(y[i], 1, v[j], 1, n);
    }
}
"""
_NAMES_IN_C = {torch.float32: "float", torch.float64: "double"}
_THREADS = 256
_MOST_ENTRIES = 2**31 - 1
"""Whole numbers reach a kernel as 32 bits."""
_LARGEST_IN_A_BLOCK = 32


def series_gradient(
    eigenvalues: Tensor, V: Tensor, by_eigenvalues: Tensor, by_eigenvectors: Tensor, iterations: int
) -> Tensor | None:
    """`hybrid`'s gradient `(..., n, n)`: in one kernel up to n = 32; None where there is none.

    Of ascending `eigenvalues` `(..., n)` and eigenvectors `V`, real and on CUDA. The operations of
    torch that it stands for are thirty launches, which on small matrices take longer than the
    decomposition.
    """
    n, count, device = V.shape[-1], V.numel(), V.device.index
    whole = n <= _LARGEST_IN_A_BLOCK
    kernel = _compiled("series_gradient" if whole else "series_core", V.dtype, device)
    if kernel is None or not 0 < count <= _MOST_ENTRIES:
        return None
    smallest = ctypes.c_double(2 * iterations / torch.finfo(V.dtype).max)
    counts = (ctypes.c_int(n), ctypes.c_int(iterations - 1), smallest)
    values, by_values = eigenvalues.contiguous(), by_eigenvalues.resolve_neg().contiguous()
    if whole:
        gradient = torch.empty(V.shape, dtype=V.dtype, device=V.device)
        vectors = V.reshape(-1, n, n)
        by_vectors = by_eigenvectors.resolve_neg().reshape(-1, n, n)
        strides = (ctypes.c_longlong(s) for x in (vectors, by_vectors) for s in x.stride())
        tensors = (values, vectors, by_vectors, by_values, gradient)
        _launch(kernel, len(vectors), tensors, *strides, *counts)
        return gradient
    A = (V.mT @ by_eigenvectors).contiguous()
    core = torch.empty_like(A)
    blocks = -(-count // _THREADS)
    _launch(kernel, blocks, (values, A, by_values, core), ctypes.c_int(count), *counts)
    return V @ core @ V.mT


@functools.cache
def _compiled(name: str, dtype: torch.dtype, device: int) -> Any:
    """The kernel for a type, compiled once for each device; None where torch has no compiler."""
    compiler = getattr(torch.cuda, "compile_kernel", getattr(torch.cuda, "_compile_kernel", None))
    if compiler is None or sys.platform != "linux" or torch.version.hip is not None:
        return None
    with torch.cuda.device(device):
        # Torch's own way to launch it opens the driver's library anew each time, for 0.1 ms.
        return compiler(f"typedef {_NAMES_IN_C[dtype]} T;\n{_KERNELS}", name).func


@functools.cache
def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def _launch(kernel: Any, blocks: int, tensors: Sequence[Tensor], *scalars: Any) -> None:
    """Queue a kernel, whose arguments are tensors, and then scalars of C."""
    device = tensors[0].device
    arguments = [*(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors), *scalars]
    places = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
    stream = ctypes.c_void_p(torch.cuda.current_stream(device).cuda_stream)
    with torch.cuda.device(device):
        shape = (blocks, 1, 1, _THREADS, 1, 1)
        status = _driver().cuLaunchKernel(kernel, *shape, 0, stream, places, None)
    if status != 0:
        raise RuntimeError(f"a kernel could not be launched: CUDA error {status}")
