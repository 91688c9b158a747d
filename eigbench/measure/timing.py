"""Contestants timed in turn, round by round, so that what the machine does meanwhile hits all."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor


class Clock(Protocol):
    """Marks moments of the work that is timed; marks are read after `settle`."""

    name: str

    def mark(self) -> Any:
        """This moment."""
        ...

    def settle(self) -> None:
        """Return when all the work before is done."""
        ...

    def seconds(self, earlier: Any, later: Any) -> float:
        """Seconds from one mark to another, after `settle`."""
        ...


class WallClock:
    """For work that is done when its call returns, as on a CPU."""

    name = "wall"

    def mark(self) -> float:
        """Seconds of the finest clock that only goes forward."""
        return time.perf_counter()

    def settle(self) -> None:
        """Nothing: the work is done."""

    def seconds(self, earlier: float, later: float) -> float:
        """The difference."""
        return later - earlier


class CudaClock:
    """For work that is still queued when its call returns.

    An event is a mark in the stream itself: the device notes when it gets there. The queue is empty
    before the first mark, so that work that the host launches too slowly to keep the device busy
    counts as the time it takes.
    """

    name = "cuda events"

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        """An event in the current stream."""
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def settle(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        """As the device measured it, which is to half a microsecond."""
        return float(earlier.elapsed_time(later)) / 1000


def clock_for(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if device.type == "cuda" else WallClock()


Key = TypeVar("Key", bound=Hashable)

WARM_UP_RUNS = 3
FEWEST_ROUNDS = 11
"""Of fewer than six a median has no interval; of an odd number it is one that was measured."""
BLOCK_SECONDS = 1e-3
"""Between two readings of the clock; a reading takes less than a ten-thousandth of it."""
LARGEST_BLOCK = 256
COLLECT_SECONDS = 0.5
"""Python's garbage is collected between blocks, after so long; never inside of one."""


@dataclass(frozen=True)
class Contestant:
    """What is timed: passes of one run, such as forward and backward.

    `prepare` makes the inputs of a run and resets what a run leaves behind; it is never timed. The
    first pass takes the inputs, each later one what the pass before it returned.
    """

    prepare: Callable[[], tuple[Tensor, ...]]
    passes: Mapping[str, Callable[[Any], Any]]
    parameters: tuple[Tensor, ...] = ()
    alone: bool = False
    """Whether a run must end before the next begins, as a training step."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """One run, not timed."""
        state: Any = self.prepare()
        for step in self.passes.values():
            state = step(state)


@dataclass
class Times:
    """Raw seconds of one contestant."""

    first_call_seconds: float
    block_runs: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By pass: seconds of one run, one value a round."""

    @property
    def rounds(self) -> int:
        """In how many rounds it was timed."""
        return min(map(len, self.seconds.values()), default=0)


Outcome = Times | Exception


def interleave(
    contestants: Mapping[Key, Callable[[], Contestant]],
    clock: Clock,
    rounds: int,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> tuple[dict[Key, Contestant], dict[Key, Outcome]]:
    """Build and time each contestant once a round; what raises has its exception as outcome.

    The first call of each is timed apart; then come untimed runs, then `rounds` rounds, or fewer,
    of `FEWEST_ROUNDS` at least, if `seconds` are over before. The order turns from round to round,
    forwards and backwards, so that nobody always runs after the same neighbour.
    """
    built: dict[Key, Contestant] = {}
    outcomes: dict[Key, Outcome] = {}
    for key, build in contestants.items():
        with _kept(outcomes, key):
            built[key] = build()
            outcomes[key] = _first_calls(built[key], clock)
    started = now()
    with _collected_between_blocks(now) as collect:
        for number in range(rounds):
            if number >= FEWEST_ROUNDS and now() - started > seconds:
                break
            running = [key for key in built if isinstance(outcomes[key], Times)]
            for key in _order(running, number):
                collect()
                with _kept(outcomes, key):
                    _time_block(built[key], outcomes[key], clock)
    return built, outcomes


@contextmanager
def _kept(outcomes: dict[Key, Outcome], key: Key) -> Iterator[None]:
    """Whatever a contestant raises is its outcome; the others go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        outcomes[key] = error.with_traceback(None)  # which would hold on to its tensors


def _first_calls(contestant: Contestant, clock: Clock) -> Times:
    """Time the first run, warm up, and choose how many runs make a block."""
    first = sum(_timed(contestant, 1, clock).values())
    taken = [sum(_timed(contestant, 1, clock).values()) for _ in range(WARM_UP_RUNS)]
    block = 1 if contestant.alone else _block_runs(min(taken))
    return Times(first, block, {name: [] for name in contestant.passes})


def _block_runs(run_seconds: float) -> int:
    if run_seconds <= 0:
        return LARGEST_BLOCK
    return max(1, min(LARGEST_BLOCK, math.ceil(BLOCK_SECONDS / run_seconds)))


def _time_block(contestant: Contestant, times: Outcome, clock: Clock) -> None:
    assert isinstance(times, Times)  # noqa: S101  # whoever failed is out
    for name, seconds in _timed(contestant, times.block_runs, clock).items():
        times.seconds[name].append(seconds)


def _timed(contestant: Contestant, runs: int, clock: Clock) -> dict[str, float]:
    """Seconds per run by pass: of all runs the first pass, then of all the second, and so on."""
    states: list[Any] = [contestant.prepare() for _ in range(runs)]
    clock.settle()
    marks = [clock.mark()]
    for step in contestant.passes.values():
        states = [step(state) for state in states]
        marks.append(clock.mark())
    clock.settle()
    lengths = map(clock.seconds, marks, marks[1:])
    return {name: length / runs for name, length in zip(contestant.passes, lengths, strict=True)}


def _order(running: Sequence[Key], number: int) -> list[Key]:
    """Turned by one place every second round, and backwards in every second."""
    turn = (number // 2) % max(1, len(running))
    rotated = [*running[turn:], *running[:turn]]
    return rotated if number % 2 == 0 else rotated[::-1]


@contextmanager
def _collected_between_blocks(now: Callable[[], float]) -> Iterator[Callable[[], None]]:
    """No garbage is collected but where the function that this gives is called."""
    enabled = gc.isenabled()
    gc.disable()
    gc.collect()
    last = now()

    def collect() -> None:
        nonlocal last
        if now() - last > COLLECT_SECONDS:
            gc.collect()
            last = now()

    try:
        yield collect
    finally:
        if enabled:
            gc.enable()
