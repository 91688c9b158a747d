"""What a measurement sets in its process: threads and freed memory; and the most memory used."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # else late: benchmarks of the start-up import this and must not load it
    from threadpoolctl import ThreadpoolController


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set `torch.set_num_threads(count)`, and afterwards what it was before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, and one for the BLAS and LAPACK that NumPy calls.

    For accuracy cases. Their matrices are small, and beside other programs two threads wait for
    each other: there `numpy.linalg.eigh` of eight 64 × 64 took 2.4 ms on one thread and 18 ms on
    two, and of eight 128 × 128 13 ms and 1.7 s. The last bits of a product of larger matrices than
    64 × 64 depend on the number of threads, too; so all records are of one, with workers or
    without.
    """
    with torch_threads(1), _numpy_libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _numpy_libraries() -> ThreadpoolController:
    """Looks for the libraries that are loaded, which takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
NEVER, NONE = -1, 0


@functools.cache
def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, from now on; False where there is no such allocator.

    By default every block of 32 MiB or more is mapped anew and given back when it is freed. A
    training step on a CPU allocates and frees dozens of them, and the system fills each with zeros
    again: measured on ResNet18 at batch 128, that is half of the time of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, NONE) and mallopt(M_TRIM_THRESHOLD, NEVER))


def give_back_freed_memory() -> None:
    """Have glibc give back what is free by now, so that the next measurement starts without it."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_old_objects() -> None:
    """Have Python's garbage collector look at nothing that exists by now.

    The hundreds of thousands of objects that importing torch leaves cost 0.2 s at each collection.
    """
    gc.freeze()


_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Starts counting when it is made: CUDA's allocator, or the resident size of this process.

    The process's figure holds everything, the images and torch itself. Where the system cannot
    start it anew (Linux can), it is the most since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device = device
        self.of = "CUDA allocator" if device.type == "cuda" else "process"
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            give_back_freed_memory()
            with contextlib.suppress(OSError):
                _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets VmHWM

    def peak_bytes(self) -> int:
        """The most bytes that were in use since then."""
        import torch

        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        with contextlib.suppress(OSError):
            for line in _STATUS.read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
