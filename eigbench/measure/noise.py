"""How far times on this machine can be trusted: a fixed kernel beside itself, and what disturbs it.

The kernel is a small batch of `torch.linalg.eigh`, which takes about a millisecond: it is always
the same, so that whatever its times differ by is the machine's.
"""

from __future__ import annotations

import functools
import math
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from eigbench.measure.process import forget_old_objects, torch_threads
from eigbench.measure.timing import Contestant, Outcome, clock_for, interleave

BATCH, SIZE = 8, 32
"""Matrices of the kernel, and their rows."""
ROUNDS = 51
"""Of a comparison of the kernel with itself, as a profile has them by default."""
SHORT_COMPARISONS, SHORT_SECONDS, FEWEST = 8, 0.5, 4
"""A profile makes so many comparisons, or fewer on a machine where they take longer than that."""
SHARE = 0.25
"""Of the time of `measure`: for calls alone, and for calls beside others. The rest compares."""
PAUSE = 2.0
"""A call that takes so many times the median was interrupted."""


@dataclass(frozen=True)
class Noise:
    """What was found in about `seconds`; times are of one call of the kernel on one thread."""

    seconds: float
    alone: list[float]
    """Seconds of each call, one after the other."""
    beside: list[float]
    """The same while another thread of this process runs the kernel, too."""
    ratios: list[float]
    """Median ratios of the kernel to itself, timed in turn: one a comparison."""
    stolen: float | None
    """The share of the cores' time that the hypervisor gave to other machines; None if unknown."""
    interruptions: int
    """How often the system took a core from this process in favour of another."""
    waiting: float
    """The mean number of programs that ran or waited to run in the last minute."""
    cores: int

    @property
    def spread(self) -> float:
        """How much longer than the median the slowest twentieth of the calls took, as a share."""
        return _quantile(self.alone, 0.95) / statistics.median(self.alone) - 1

    @property
    def pauses(self) -> float:
        """The share of the calls that were interrupted for longer than the call itself."""
        limit = PAUSE * statistics.median(self.alone)
        return sum(one > limit for one in self.alone) / len(self.alone)

    @property
    def contention(self) -> float:
        """The median call beside another over the median call alone: 1 on two free cores, or 2."""
        return statistics.median(self.beside) / statistics.median(self.alone)


def measure(seconds: float, now: Callable[[], float] = time.monotonic) -> Noise:
    """Measure for about `seconds`, on the CPU. Other programs should do what they usually do."""
    kernel = _kernel(torch.device("cpu"))
    began, stolen = now(), _stolen()
    switched = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    forget_old_objects()
    with torch_threads(1):
        kernel()
        alone = _calls(kernel, seconds * SHARE)
        with _another(kernel):
            beside = _calls(kernel, seconds * SHARE)
        ratios: list[float] = []
        while not ratios or now() - began < seconds:
            ratios.append(_compared(torch.device("cpu")))
    return Noise(
        seconds=now() - began,
        alone=alone,
        beside=beside,
        ratios=ratios,
        stolen=_share(stolen, _stolen()),
        interruptions=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switched,
        waiting=os.getloadavg()[0],
        cores=os.cpu_count() or 1,
    )


@functools.cache
def short(device: torch.device) -> tuple[float, ...]:
    """A few median ratios of the kernel to itself on a device: in half a second, once a process.

    On one thread: two wait for each other beside other programs, which is not noise, but load.
    """
    began = time.monotonic()
    found: list[float] = []
    with torch_threads(1):
        while len(found) < FEWEST or (
            len(found) < SHORT_COMPARISONS and time.monotonic() - began < SHORT_SECONDS
        ):
            found.append(_compared(device))
    return tuple(found)


def _kernel(device: torch.device) -> Callable[[], object]:
    X = torch.randn(BATCH, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    M = X @ X.mT
    return lambda: torch.linalg.eigh(M)


def _compared(device: torch.device) -> float:
    """The median over rounds of the kernel's time over its own, timed as a profile does."""
    kernel = _kernel(device)
    same = Contestant(prepare=tuple, passes={"run": lambda _: kernel()})
    contestants = dict.fromkeys(("one", "other"), lambda: same)
    _, found = interleave(contestants, clock_for(device), ROUNDS, math.inf)
    one, other = (_rounds(outcome) for outcome in found.values())
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _rounds(outcome: Outcome) -> list[float]:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome.seconds["run"]


def _calls(kernel: Callable[[], object], seconds: float) -> list[float]:
    """The seconds of each call, for so long, and of ten at least."""
    found: list[float] = []
    began = last = time.perf_counter()
    while last - began < seconds or len(found) < 10:
        kernel()
        found.append(-last + (last := time.perf_counter()))
    return found


@contextmanager
def _another(kernel: Callable[[], object]) -> Iterator[None]:
    """Inside, another thread runs the kernel; torch lets go of Python's lock while it computes."""
    over = threading.Event()

    def work() -> None:
        torch.set_num_threads(1)  # a thread has its own number
        while not over.is_set():
            kernel()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


_STAT = Path("/proc/stat")
STEAL = 7
"""The place of the stolen time among the numbers of a line, see proc(5)."""


def _stolen() -> tuple[int, int] | None:
    """What all cores lost to other machines since the start, and all their time, in ticks."""
    try:
        line = _STAT.read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(word) for word in line.split()[1:]]
    return (ticks[STEAL], sum(ticks[: STEAL + 1])) if len(ticks) > STEAL else None


def _share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] == before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])


def _quantile(values: list[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
