"""The most memory that was in use since a moment."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

from eigbench.measure.allocator import give_back_freed_memory

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Starts counting when it is made: CUDA's allocator, or the resident size of this process.

    The process's figure holds everything, the images and torch itself. Where the system cannot
    start it anew (Linux can), it is the most since the process began.
    """

    def __init__(self, device: torch.device) -> None:
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
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        with contextlib.suppress(OSError):
            for line in _STATUS.read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
