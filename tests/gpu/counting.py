"""How often the host waits for its device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


def waits(work: Callable[[], Any]) -> int:
    """How many operations in `work` make the host wait, as torch itself counts them.

    `work` is done once before, so that what is set up once is not counted.
    """
    work()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # which warns itself: that it may not see them all
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(one.message) for one in caught)
